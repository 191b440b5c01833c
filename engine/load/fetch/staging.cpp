#include "engine/load/fetch/staging.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <cerrno>
#include <iterator>
#include <stdexcept>
#include <system_error>

#include "engine/load/fetch/fetch_plan.h"

namespace crossover {

namespace {
constexpr std::uint64_t kHugePage = std::uint64_t{2} << 20;
}

Staging::Staging(std::uint64_t bytes) {
  if (bytes == 0) return;
  mapped_bytes_ = bytes + kHugePage;
  void* at = mmap(nullptr, mapped_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED)
    throw std::runtime_error(fmt::format("cannot get {} bytes of memory to read into: {}; ask for a smaller read buffer", bytes,
                                         std::generic_category().message(errno)));
  mapped_ = static_cast<std::byte*>(at);
  const auto address = reinterpret_cast<std::uintptr_t>(mapped_);
  base_ = mapped_ + (round_up(address, kHugePage) - address);
  madvise(base_, bytes, MADV_HUGEPAGE);  // fewer faults, and fewer pages to pin for direct reads; only a wish
  free_[0] = bytes;
}

Staging::~Staging() {
  if (mapped_) munmap(mapped_, mapped_bytes_);
}

std::byte* Staging::take(std::uint64_t bytes) {
  for (auto hole = free_.begin(); hole != free_.end(); ++hole) {
    const auto [at, size] = *hole;
    if (size < bytes) continue;
    free_.erase(hole);
    if (size > bytes) free_[at + bytes] = size - bytes;
    lent_[at] = bytes;
    return base_ + at;
  }
  return nullptr;
}

void Staging::give_back(std::byte* piece) {
  const auto lent = lent_.find(static_cast<std::uint64_t>(piece - base_));
  auto [at, bytes] = *lent;
  lent_.erase(lent);
  auto next = free_.upper_bound(at);
  if (next != free_.end() && next->first == at + bytes) {
    bytes += next->second;
    next = free_.erase(next);
  }
  if (next != free_.begin()) {
    const auto previous = std::prev(next);
    if (previous->first + previous->second == at) {
      previous->second += bytes;
      return;
    }
  }
  free_[at] = bytes;
}

}  // namespace crossover
