#include <cstring>
#include <new>

#include "kernels/buffer.h"
#include "kernels/reference/reference.h"

namespace crossover::reference {

std::byte* allocate(std::size_t bytes) {
  return static_cast<std::byte*>(::operator new(bytes, std::align_val_t{HostBuffer::kAlignment}));
}

void release(std::byte* memory, std::size_t) {
  if (memory) ::operator delete(memory, std::align_val_t{HostBuffer::kAlignment});
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

void synchronize(Context&) {}

}  // namespace crossover::reference
