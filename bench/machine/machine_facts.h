// What /proc and /sys tell about a machine's fitness to be measured on. What it does not tell is absent or empty.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "bench/machine/machine.h"
#include "bench/machine/perf_counters.h"
#include "bench/page_cache_check.h"

namespace crossover {

struct MachineFacts {
  std::vector<int> allowed_cores;
  std::vector<std::string> siblings;       // groups of allowed cores that share a physical one: "0,4"
  std::vector<std::string> governors;      // distinct ones of the allowed cores
  std::string clock_driver;                // "intel_pstate", "acpi-cpufreq"
  std::optional<bool> turbo;
  std::string turbo_file;                  // that switches it
  std::optional<double> throttle_events;   // since the machine started
  std::optional<double> quota_cores;       // of the cgroup; absent without a limit
  std::optional<double> load1, others_share, steal_share;  // load average; of all cores, over a moment in which we were idle
  std::optional<double> cpu_pressure_percent, memory_pressure_percent, io_pressure_percent;  // share of the last 10 s with a wait for it
  bool guest = false;
  std::string container;
  std::string clock_source;                // "tsc", "kvm-clock"
  std::vector<std::string> other_clock_sources;
  std::optional<bool> steady_tsc;          // constant_tsc and nonstop_tsc
  std::vector<std::string> numa_nodes;     // "0: 0-15", those with allowed cores
  std::optional<bool> numa_balancing;
  std::string huge_pages;                  // "always", "madvise", "never"
  std::optional<double> swap_bytes, swap_used_bytes;
  std::optional<int> address_randomisation;
  std::string perf_paranoid;

  // Measured or tried, not read from files.
  std::optional<PerfSupport> perf;
  std::optional<Clock> clock;
  std::optional<Steadiness> steadiness;
  std::string page_cache_folder;
  std::optional<PageCacheCheck> page_cache;
};

// Reads below `root` what is files; `allowed_cores` as sched_getaffinity gives them.
MachineFacts read_machine_facts(const std::vector<int>& allowed_cores, const std::filesystem::path& root = "/");

// Fills in others_share and steal_share from two readings `seconds` apart (bench/machine/sample_conditions.h).
void watch_other_load(double seconds, MachineFacts& facts, const std::filesystem::path& root = "/");

std::vector<int> cores_allowed_here();

}  // namespace crossover
