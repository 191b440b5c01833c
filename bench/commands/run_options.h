// Options that commands have in common: all those of `run` and `ab`, and the kind that is given several times.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "bench/commands/command_line.h"
#include "bench/commands/scenario_run.h"

namespace crossover::commands {

struct RunOptionsText {
  std::string out;
  std::vector<std::string> sets, exports;
  int pairs = 0;
  double max_time_s = 0;
  bool resume = false, dry_run = false, report_only = false, inherit_env = false, quiet = false;
};

// An option that takes one value each time it is given.
Option add_list_option(Command command, const std::string& name, std::vector<std::string>& values, const std::string& about,
                             const std::string& type);
void add_export_option(Command command, std::vector<std::string>& exports);
void add_run_options(Command command, RunOptionsText& options);
RunRequest to_request(const RunOptionsText& options);  // std::invalid_argument

}  // namespace crossover::commands
