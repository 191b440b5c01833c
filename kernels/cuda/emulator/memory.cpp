#include "kernels/cuda/emulator/memory.h"

#include <sys/mman.h>

#include <cstring>
#include <mutex>
#include <new>
#include <stdexcept>

namespace crossover::cuda::emulated {
namespace {

constexpr std::size_t kArena = std::size_t{4} << 30, kAlignment = 256, kPage = 4096;
constexpr int kReleased = 0xff;  // every byte of memory that was given back: NaNs and ids that nothing has, for whoever still reads it

// Addresses are handed out once; they come back when nothing is held. Pages that were never touched cost nothing.
struct Arena {
  std::mutex mutex;
  std::byte* base = nullptr;
  std::size_t used = 0, held = 0;
  int open = 0;

  void protect(int how) {
    if (used > 0 && ::mprotect(base, (used + kPage - 1) / kPage * kPage, how) != 0) throw std::runtime_error("the emulated device's memory: mprotect failed");
  }
};

Arena& arena() {
  static Arena one;
  return one;
}

}  // namespace

OpenMemory::OpenMemory() {
  Arena& a = arena();
  const std::lock_guard lock(a.mutex);
  if (a.open++ == 0) a.protect(PROT_READ | PROT_WRITE);
}

OpenMemory::~OpenMemory() {
  Arena& a = arena();
  const std::lock_guard lock(a.mutex);
  if (--a.open == 0) a.protect(PROT_NONE);
}

std::byte* allocate_device(std::size_t bytes) {
  Arena& a = arena();
  const std::lock_guard lock(a.mutex);
  if (!a.base) {
    void* const memory = ::mmap(nullptr, kArena, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    a.base = static_cast<std::byte*>(memory);
  }
  const std::size_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  if (a.used + rounded > kArena) throw std::bad_alloc();
  std::byte* const memory = a.base + a.used;
  a.used += rounded, a.held += rounded;
  if (a.open > 0) a.protect(PROT_READ | PROT_WRITE);
  return memory;
}

void release_device(std::byte* memory, std::size_t bytes) {
  if (!memory) return;
  {
    const OpenMemory open;
    std::memset(memory, kReleased, bytes);
  }
  Arena& a = arena();
  const std::lock_guard lock(a.mutex);
  a.held -= (bytes + kAlignment - 1) / kAlignment * kAlignment;
  if (a.held > 0) return;
  (void)::madvise(a.base, a.used, MADV_DONTNEED);  // its pages; a refusal costs memory only
  a.used = 0;
}

}  // namespace crossover::cuda::emulated
