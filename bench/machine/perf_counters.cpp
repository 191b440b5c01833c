#include "bench/machine/perf_counters.h"

#include <fmt/format.h>
#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <optional>

namespace crossover {

namespace {

struct Event {
  const char* name;
  std::uint32_t type;
  std::uint64_t config;
  double unit;   // of one count
  bool divides;  // may be counted without the kernel's part; a switch or a fault inside the kernel would be missed
};

constexpr std::array kEvents{
    Event{"perf.instructions", PERF_TYPE_HARDWARE, PERF_COUNT_HW_INSTRUCTIONS, 1, true},
    Event{"perf.cycles", PERF_TYPE_HARDWARE, PERF_COUNT_HW_CPU_CYCLES, 1, true},
    Event{"perf.cache_misses", PERF_TYPE_HARDWARE, PERF_COUNT_HW_CACHE_MISSES, 1, true},
    Event{"perf.branch_misses", PERF_TYPE_HARDWARE, PERF_COUNT_HW_BRANCH_MISSES, 1, true},
    Event{"perf.task_clock_s", PERF_TYPE_SOFTWARE, PERF_COUNT_SW_TASK_CLOCK, 1e-9, true},
    Event{"perf.context_switches", PERF_TYPE_SOFTWARE, PERF_COUNT_SW_CONTEXT_SWITCHES, 1, false},
    Event{"perf.migrations", PERF_TYPE_SOFTWARE, PERF_COUNT_SW_CPU_MIGRATIONS, 1, false},
    Event{"perf.page_faults", PERF_TYPE_SOFTWARE, PERF_COUNT_SW_PAGE_FAULTS, 1, false},
    Event{"perf.major_faults", PERF_TYPE_SOFTWARE, PERF_COUNT_SW_PAGE_FAULTS_MAJ, 1, false},
};

int open_as(const Event& event, pid_t pid, bool kernel_too) {
  perf_event_attr attr{};
  attr.size = sizeof attr;
  attr.type = event.type, attr.config = event.config;
  attr.disabled = 1, attr.inherit = 1, attr.enable_on_exec = 1;
  attr.exclude_kernel = attr.exclude_hv = kernel_too ? 0 : 1;
  attr.read_format = PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING;
  return static_cast<int>(syscall(SYS_perf_event_open, &attr, pid, -1, -1, PERF_FLAG_FD_CLOEXEC));
}

struct Opened {
  int descriptor;  // -1: see error
  bool user_only;
  int error;
};

// The kernel's part is left out where only that is allowed (perf_event_paranoid 2).
Opened open_event(const Event& event, pid_t pid) {
  const int whole = open_as(event, pid, true);
  if (whole >= 0 || (errno != EACCES && errno != EPERM) || !event.divides) return {whole, false, errno};
  const int part = open_as(event, pid, false);
  return {part, true, errno};
}

std::optional<double> value_of(int descriptor) {
  struct { std::uint64_t value, enabled, running; } count{};
  if (::read(descriptor, &count, sizeof count) != static_cast<ssize_t>(sizeof count)) return std::nullopt;
  if (count.running == 0) return std::nullopt;
  return static_cast<double>(count.value) * (static_cast<double>(count.enabled) / static_cast<double>(count.running));
}

std::string why_missing(const Event& event, int error, const std::string& paranoid) {
  if (error == EACCES || error == EPERM)
    return fmt::format("not allowed (perf_event_paranoid {}); sysctl kernel.perf_event_paranoid=1", paranoid.empty() ? "unknown" : paranoid);
  if (error == ENOSYS) return "this kernel has no perf_event_open, or a sandbox forbids it";
  if (event.type == PERF_TYPE_HARDWARE && (error == ENOENT || error == EOPNOTSUPP || error == ENODEV))
    return "the processor's counters are not there, as on most virtual machines; measure on the bare machine for these";
  return std::strerror(error);
}

}  // namespace

PerfCounters::PerfCounters(pid_t child) {
  for (std::size_t i = 0; i < kEvents.size(); ++i)
    if (const Opened opened = open_event(kEvents[i], child); opened.descriptor >= 0) open_.emplace_back(i, opened.descriptor);
}

PerfCounters::~PerfCounters() {
  for (const auto& [index, descriptor] : open_) ::close(descriptor);
}

std::map<std::string, double> PerfCounters::read() const {
  std::map<std::string, double> values;
  for (const auto& [index, descriptor] : open_)
    if (const auto count = value_of(descriptor)) values[kEvents[index].name] = *count * kEvents[index].unit;
  return values;
}

PerfSupport perf_support(const std::string& paranoid) {
  PerfSupport support;
  for (const Event& event : kEvents) {
    const Opened opened = open_event(event, 0);
    if (opened.descriptor < 0) {
      support.missing[event.name] = why_missing(event, opened.error, paranoid);
      continue;
    }
    ::close(opened.descriptor);
    support.user_only = support.user_only || opened.user_only;
    support.counted.emplace_back(event.name);
  }
  return support;
}

}  // namespace crossover
