// What the kernel counts of one child and everything it starts, from its exec on (perf_event_open). Nothing of it is read or
// computed while the child runs.
#pragma once

#include <sys/types.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

namespace crossover {

// Opened between fork and exec of the child. An event that this kernel or machine refuses is left out, one by one.
class PerfCounters {
 public:
  explicit PerfCounters(pid_t child);
  ~PerfCounters();
  PerfCounters(const PerfCounters&) = delete;
  PerfCounters& operator=(const PerfCounters&) = delete;

  // After the child was waited for: "perf.instructions", "perf.task_clock_s", ... An event that shared its counter with others is
  // scaled to the whole time; one that never had a counter is absent.
  std::map<std::string, double> read() const;

 private:
  std::vector<std::pair<std::size_t, int>> open_;  // index of the event, descriptor
};

struct PerfSupport {
  std::vector<std::string> counted;            // names as in PerfCounters::read
  std::map<std::string, std::string> missing;  // name -> why, with what to do about it
  bool user_only = false;                      // instructions, cycles and misses leave out the kernel's part
};

// Opens every event on this process and closes it again. `paranoid` is the text of /proc/sys/kernel/perf_event_paranoid.
PerfSupport perf_support(const std::string& paranoid);

}  // namespace crossover
