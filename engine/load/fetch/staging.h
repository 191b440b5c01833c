// One stretch of memory lent out in pieces.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>

namespace crossover {

// Lowest free place first: what was given back last is still in the caches, and no more memory becomes resident than was ever lent at
// once, but for holes. Not safe to use from several threads.
class Staging {
 public:
  // Reserves address space; memory is taken when it is first written. std::runtime_error when there is none.
  explicit Staging(std::uint64_t bytes);
  ~Staging();
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;

  // Aligned to the largest power of two, at most 2 MiB, that divides all sizes taken. nullptr when no free place is large enough, which
  // cannot be when nothing is lent and bytes <= the capacity.
  std::byte* take(std::uint64_t bytes);
  void give_back(std::byte* at);

 private:
  std::byte* mapped_ = nullptr;
  std::byte* base_ = nullptr;
  std::uint64_t mapped_bytes_ = 0;
  std::map<std::uint64_t, std::uint64_t> free_, lent_;  // offset -> bytes
};

}  // namespace crossover
