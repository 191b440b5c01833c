// One child process with everything stated: environment, folder, cores, priority, time limit. Nothing of it survives the call, nor
// the end of the caller (bench/process/supervisor.h).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace crossover {

struct ProcessSpec {
  std::vector<std::string> argv;         // argv[0] is looked up in PATH of `environment` unless it has a slash
  std::vector<std::string> environment;  // the exact block
  std::filesystem::path folder;          // empty = the caller's
  std::string input;                     // what the child reads on descriptor 0
  bool wants_result = false;             // descriptor 3 of the child is a file that the caller gets back as `result`
  double timeout_s = 0;                  // 0 = none
  std::size_t max_output_bytes = std::size_t{16} << 20;  // of stdout and of stderr each; the last ones are kept
  std::vector<int> cpus;                 // empty = as the caller
  int priority = 0;
  bool counted = false;                  // fill in `counters`
  int stack_signal = 0;                  // at the time limit: makes the program print its stacks (bench/process/stack_signal.h); 0 = it cannot
};

struct ProcessResult {
  int exit_code = -1;  // -1 when a signal ended it
  int signal = 0;
  bool timed_out = false, interrupted = false;
  bool truncated_output = false, truncated_error = false;  // more than max_output_bytes were printed
  double spawned_s = 0;  // CLOCK_MONOTONIC when the forked child was let go towards its exec
  double wall_s = 0;     // spawn to exit
  double user_s = 0, system_s = 0;
  std::int64_t minor_faults = 0, major_faults = 0, voluntary_switches = 0, involuntary_switches = 0;
  std::map<std::string, double> counters;  // bench/machine/perf_counters.h
  std::vector<int> granted_cpus;           // as the kernel has them for the child after its exec
  std::optional<int> granted_priority;
  std::optional<std::int64_t> peak_bytes;  // largest RssAnon + RssShmem seen of the process and its children
  std::string output, error, result;
  std::string stacks;    // where it and its children were when the time was up (bench/process/stacks.h)
};

// std::runtime_error when the program cannot be started (not found, cores or priority not allowed). On a time limit or an
// interrupt (bench/process/interrupt.h) the whole process group gets SIGTERM, then SIGKILL; descendants that left the group are killed
// too, and a pipe that one of them keeps open is not waited for. Where this process is killed, all of them end as well.
ProcessResult run_process(const ProcessSpec& spec);

std::string signal_text(int signal);  // "signal 11 (SIGSEGV, Segmentation fault)"

// Why a process run with this time limit did not come to a good end; empty when it did.
std::string bad_end(const ProcessResult& process, double timeout_s);

std::vector<int> parse_cpu_list(const std::string& list);  // "0-3,6" -> 0 1 2 3 6; std::invalid_argument

}  // namespace crossover
