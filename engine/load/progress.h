// How far a load or a quantization is, for whoever looks on from another thread.
#pragma once

#include <atomic>
#include <cstdint>

namespace crossover {

class LoadProgress {
 public:
  struct State {
    const char* phase;
    std::int64_t done_bytes, total_bytes;      // of output, over the ranks that have begun
    std::int64_t done_tensors, total_tensors;  // a tensor that ranks share counts once for each
  };

  void expect(std::int64_t bytes, std::int64_t tensors) {
    total_bytes_.fetch_add(bytes, std::memory_order_relaxed);
    total_tensors_.fetch_add(tensors, std::memory_order_relaxed);
  }
  void enter(const char* phase) { phase_.store(phase, std::memory_order_relaxed); }  // a string literal
  void finish_rows(std::int64_t bytes) { done_bytes_.fetch_add(bytes, std::memory_order_relaxed); }
  void finish_tensor() { done_tensors_.fetch_add(1, std::memory_order_relaxed); }

  // What was done counts for nothing any more: the load starts over.
  void begin_again() {
    for (std::atomic<std::int64_t>* count : {&done_bytes_, &total_bytes_, &done_tensors_, &total_tensors_}) count->store(0, std::memory_order_relaxed);
    enter("open");
  }

  State state() const {
    return {phase_.load(std::memory_order_relaxed), done_bytes_.load(std::memory_order_relaxed), total_bytes_.load(std::memory_order_relaxed),
            done_tensors_.load(std::memory_order_relaxed), total_tensors_.load(std::memory_order_relaxed)};
  }

 private:
  std::atomic<const char*> phase_{"open"};
  std::atomic<std::int64_t> done_bytes_{0}, total_bytes_{0}, done_tensors_{0}, total_tensors_{0};
};

}  // namespace crossover
