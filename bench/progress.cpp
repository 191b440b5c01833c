#include "bench/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include "kernels/trace.h"

namespace crossover {

Progress::Progress(bool quiet) : active_(!quiet && isatty(STDERR_FILENO)), started_s_(monotonic_s()) {}

Progress::~Progress() {
  if (shown_) fmt::print(stderr, "\r\033[K");
}

void Progress::show(const std::string& what, std::int64_t done, std::int64_t total) {
  const double now_s = monotonic_s();
  if (!active_ || (shown_ && done < total && now_s - last_s_ < 0.1)) return;
  const double left_s = done > 0 ? (now_s - started_s_) / static_cast<double>(done) * static_cast<double>(total - done) : 0;
  fmt::print(stderr, "\r\033[K{} {}/{}, {:.0f} s left", what, done, total, left_s);
  std::fflush(stderr);
  shown_ = true;
  last_s_ = now_s;
}

}  // namespace crossover
