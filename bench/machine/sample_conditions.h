// What the process of a sample was given, and what the machine did beside it. Read before and after the sample, never while it runs.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "bench/process/process.h"
#include "bench/sample.h"

namespace crossover {

struct MachineTicks {  // since the machine started
  std::optional<double> busy_s, steal_s;   // summed over all cores
  std::optional<double> throttle_events;   // of the clock by heat or power, summed over cores
  std::optional<double> cpu_pressure_s, memory_pressure_s, io_pressure_s;  // in which something had to wait for it
  std::optional<double> quota_throttled_s;  // in which the cgroup's CPU quota held its threads back
};

MachineTicks read_machine_ticks(const std::filesystem::path& root = "/");

// Counters perf.* and process.*, the cores and the priority that the kernel gave it.
void note_process(const ProcessResult& process, Sample& sample);

// Counters machine.*; flags "throttled: ..." (voids the sample), "interference: ..." and "quota: ...". `cores` are those that the
// sample may use. A sample that was no process (no process.wall_s) is left as it is.
void note_machine(const MachineTicks& before, const MachineTicks& after, int cores, Sample& sample);

// Counters that never repeat even where nothing changed: they show the machine and not the way the program went.
bool varies_by_itself(const std::string& counter);

}  // namespace crossover
