#include "bench/load_watch.h"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>

#include "kernels/trace.h"

namespace crossover {

std::string progress_line(const std::string& what, const LoadProgress::State& state, double elapsed_s) {
  std::string line = fmt::format("{}: {}", what, state.phase);
  if (state.total_bytes <= 0) return line;
  line += fmt::format(", {} of {} tensors, {} of {} MiB", state.done_tensors, state.total_tensors, state.done_bytes >> 20, state.total_bytes >> 20);
  if (state.done_bytes <= 0) return line;
  const double left = static_cast<double>(state.total_bytes - state.done_bytes) / static_cast<double>(state.done_bytes);
  return line + fmt::format(", {:.0f} s left", elapsed_s * left);
}

LoadWatch::LoadWatch(std::string what, const LoadProgress& progress) {
  if (isatty(STDERR_FILENO)) thread_ = std::thread([this, what = std::move(what), &progress] { watch(what, progress); });
}

LoadWatch::~LoadWatch() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  asked_.notify_one();
  thread_.join();
}

void LoadWatch::watch(const std::string& what, const LoadProgress& progress) {
  constexpr auto kEvery = std::chrono::milliseconds(100);
  const double begin_s = monotonic_s();
  std::unique_lock<std::mutex> lock(mutex_);
  while (!asked_.wait_for(lock, kEvery, [&] { return stopping_; })) {
    fmt::print(stderr, "\r\033[K{}", progress_line(what, progress.state(), monotonic_s() - begin_s));
    std::fflush(stderr);
  }
  fmt::print(stderr, "\r\033[K");
  std::fflush(stderr);
}

}  // namespace crossover
