#include "bench/targets/failed_sample.h"

#include <fmt/format.h>

#include <csignal>

#include "bench/process/oom_kills.h"
#include "bench/process/stacks.h"

namespace crossover {

namespace {

constexpr std::size_t kStderrTailBytes = 2000;

}  // namespace

void describe_failure(Sample& sample, const ProcessResult& process, std::optional<std::int64_t> oom_kills_before) {
  std::string error = process.error;
  sample.stack = process.stacks + take_printed_stacks(error);
  sample.stderr_tail = error.substr(error.size() > kStderrTailBytes ? error.size() - kStderrTailBytes : 0);
  if (process.signal != SIGKILL || process.timed_out || process.interrupted) return;
  const auto kills = oom_kills();
  if (kills && oom_kills_before && *kills > *oom_kills_before)
    sample.failure += fmt::format("; the kernel's out-of-memory killer struck {} times meanwhile: give it more memory or ask for less", *kills - *oom_kills_before);
}

}  // namespace crossover
