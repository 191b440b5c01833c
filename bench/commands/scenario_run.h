// What `run` and `ab` share: a scenario from text to its folder of results.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bench/export/export.h"
#include "bench/scenario.h"
#include "bench/targets/target.h"

namespace crossover {

struct RunRequest {
  std::filesystem::path out;  // empty = crossover-out/NAME/UTC
  ScenarioChanges changes;
  bool resume = false, dry_run = false, report_only = false, inherit_env = false, quiet = false;
  std::optional<double> max_time_s;
  std::vector<ExportTo> exports;
};

struct ScenarioText {
  std::string source;  // for messages
  std::string text;
};

ScenarioText load_scenario(const std::string& file_or_name);  // a file, or the name of a shipped scenario

std::unique_ptr<Target> target_for(const Scenario& scenario, bool inherit_env = false);  // by its kind

// Where `doctor --noise` puts its comparisons. std::invalid_argument: to be resumed, and there is none.
std::filesystem::path noise_out_folder(const Scenario& scenario, const std::filesystem::path& asked, bool resume);

// Runs all of them one after the other, prints verdicts and where the results are, and returns the worst exit code.
int run_and_print(const std::vector<ScenarioText>& scenarios, const RunRequest& request);

}  // namespace crossover
