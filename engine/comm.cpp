#include "engine/comm.h"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <thread>

namespace crossover {

namespace {
constexpr const char* kAborted = "another rank failed; this one stopped";
}

LocalComm::LocalComm(int ranks) : ranks_(ranks), parts_(static_cast<std::size_t>(ranks)), staging_(static_cast<std::size_t>(ranks)) {}

void LocalComm::barrier() {
  if (ranks_ == 1) return;
  const std::uint32_t generation = generation_.load(std::memory_order_acquire);
  // After the load: abort() sets the flag before it moves the generation, so a rank that saw the new one sees the flag.
  if (aborted_.load(std::memory_order_acquire)) throw std::runtime_error(kAborted);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == ranks_) {
    arrived_.store(0, std::memory_order_relaxed);
    generation_.fetch_add(1, std::memory_order_acq_rel);
    generation_.notify_all();
  } else {
    // Ranks meet every few hundred microseconds, so a short spin usually saves the system call; with more ranks than cores the
    // spin must end soon.
    constexpr int kSpins = 2000;
    for (int i = 0; i < kSpins && generation_.load(std::memory_order_acquire) == generation; ++i)
      if (i % 64 == 63) std::this_thread::yield();
    while (generation_.load(std::memory_order_acquire) == generation) generation_.wait(generation, std::memory_order_acquire);
  }
  if (aborted_.load(std::memory_order_acquire)) throw std::runtime_error(kAborted);
}

void LocalComm::abort() {
  aborted_.store(true, std::memory_order_release);
  generation_.fetch_add(1, std::memory_order_acq_rel);
  generation_.notify_all();
}

void LocalComm::reset() {
  aborted_.store(false, std::memory_order_release);
  arrived_.store(0, std::memory_order_release);
}

void LocalComm::reserve(std::size_t values) {
  if (ranks_ > 1 && sum_.size() < values) sum_.resize(values);
}

void LocalComm::all_reduce(int rank, std::span<float> data) {
  if (ranks_ == 1 || rehearses_) return;
  if (data.size() > sum_.size())
    throw std::invalid_argument("all_reduce of " + std::to_string(data.size()) + " values, reserved are " + std::to_string(sum_.size()));
  parts_[static_cast<std::size_t>(rank)] = data.data();
  barrier();
  const std::size_t n = data.size(), first = n * rank / ranks_, last = n * (rank + 1) / ranks_;
  for (std::size_t i = first; i < last; ++i) {
    float sum = parts_[0][i];
    for (int r = 1; r < ranks_; ++r) sum += parts_[r][i];
    sum_[i] = sum;
  }
  barrier();
  // The next all_reduce writes sum_ only behind its first barrier, when everyone has copied.
  std::copy_n(sum_.begin(), n, data.begin());
}

}  // namespace crossover
