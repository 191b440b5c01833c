// Shows on a terminal how far a load or a quantization is, while another thread does it.
#pragma once

#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

#include "engine/load/progress.h"

namespace crossover {

// "load: quantize, 12 of 86 tensors, 340 of 1261 MiB, 3 s left"; without the time while nothing is done.
std::string progress_line(const std::string& what, const LoadProgress::State& state, double elapsed_s);

class LoadWatch {
 public:
  // Where stderr is no terminal nothing is started and nothing shown.
  LoadWatch(std::string what, const LoadProgress& progress);
  ~LoadWatch();  // clears the line
  LoadWatch(const LoadWatch&) = delete;
  LoadWatch& operator=(const LoadWatch&) = delete;

 private:
  void watch(const std::string& what, const LoadProgress& progress);

  std::mutex mutex_;
  std::condition_variable asked_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace crossover
