#include <sys/mman.h>

#include <cstring>
#include <new>

#include "kernels/buffer.h"
#include "kernels/cpu/cpu_ops.h"

namespace crossover::cpu {
namespace {

// Blocks of this size and more are put on huge pages where the system allows it: reading them goes some 10 % faster.
constexpr std::size_t kHugeFrom = std::size_t{8} << 20;
constexpr std::size_t kHugePage = std::size_t{2} << 20;

std::align_val_t alignment(std::size_t bytes) { return std::align_val_t{bytes >= kHugeFrom ? kHugePage : HostBuffer::kAlignment}; }

}  // namespace

std::byte* allocate(std::size_t bytes) {
  std::byte* memory = static_cast<std::byte*>(::operator new(bytes, alignment(bytes)));
  // Whole pages only, so that no more memory is taken than was asked for. Advice: a refusal changes nothing.
  if (bytes >= kHugeFrom) (void)::madvise(memory, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
  return memory;
}

void release(std::byte* memory, std::size_t bytes) {
  if (memory) ::operator delete(memory, alignment(bytes));
}

void upload(Context&, std::byte* to, const std::byte* from_host, std::size_t bytes) {
  if (bytes > 0) std::memcpy(to, from_host, bytes);
}

void download(Context&, std::byte* to_host, const std::byte* from, std::size_t bytes) {
  if (bytes > 0) std::memcpy(to_host, from, bytes);
}

void download_rows(Context&, Rows to_host, ConstRows from) {
  if (from.dim == 0) return;
  for (std::int64_t r = 0; r < from.rows; ++r) std::memcpy(to_host.row(r), from.row(r), static_cast<std::size_t>(from.dim) * sizeof(float));
}

void clear(Context&, std::byte* memory, std::size_t bytes) {
  if (bytes > 0) std::memset(memory, 0, bytes);
}

void synchronize(Context&) {}  // operations return when they are done

}  // namespace crossover::cpu
