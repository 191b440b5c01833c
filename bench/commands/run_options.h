// The options that `run` and `ab` have in common.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "bench/commands/scenario_run.h"

namespace CLI { class App; }

namespace crossover::commands {

struct RunOptionsText {
  std::string out;
  std::vector<std::string> sets, exports;
  int pairs = 0;
  double max_time_s = 0;
  bool resume = false, dry_run = false, report_only = false, inherit_env = false, quiet = false;
};

void add_run_options(CLI::App& command, RunOptionsText& options);
RunRequest to_request(const RunOptionsText& options);  // std::invalid_argument

}  // namespace crossover::commands
