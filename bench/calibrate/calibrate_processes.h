// Self-validation with real processes: a scenario's arm A against itself, again and again, each a whole run with journal and result.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "bench/calibrate/calibrate.h"
#include "bench/calibrate/overhead.h"
#include "bench/runner.h"

namespace crossover {

// The text of a scenario with B's settings replaced by A's. std::runtime_error, std::invalid_argument as parse_scenario.
std::string identical_arms(const std::string& text, const std::string& source);

struct ProcessCalibrationOptions {
  int runs = 100;
  std::uint64_t seed = 1;           // of the first run's plan; counts up
  std::filesystem::path folder;     // a folder for each run is kept below it; finished and begun ones found there are continued
  std::function<void(int run)> progress;  // may be empty
};

struct ProcessRun {
  std::uint64_t seed = 0;
  std::string word;                        // at the scenario's threshold
  std::vector<CrossoverEstimate> cells;    // of the primary
  double seconds = 0;                      // first sample to last
};

struct ProcessCalibration {
  std::string scenario, primary;
  double threshold_percent = 0;
  int pairs = 0;
  std::vector<ProcessRun> runs;
  std::vector<CalibrationRate> rates;  // of runs; covered and order_seen: of cells
  std::string environment;             // JSON, as it was before the first run
};

// `text` with identical arms and `changes`, the seed of each run apart. Errors of parse_scenario and run_scenario pass; what was
// finished is in the folder.
ProcessCalibration calibrate_processes(const std::string& text, const std::string& source, const ScenarioChanges& changes, Target& target,
                                       const ProcessCalibrationOptions& options);

}  // namespace crossover
