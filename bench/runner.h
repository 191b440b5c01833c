// One scenario from its plan to its result file, as named steps: prepare, journal, samples, controls, analyse, write.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bench/child_environment.h"
#include "bench/plan.h"
#include "bench/scenario.h"
#include "bench/targets/target.h"
#include "bench/verdict.h"

namespace crossover {

struct RunOptions {
  std::filesystem::path out;
  bool resume = false, quiet = false;
  std::optional<double> max_time_s;             // no sample starts that would end later
  AmbientEnvironment ambient;
  std::function<void(const std::string&)> say;  // one line of diagnostics; may be empty
};

struct RunOutcome {
  Plan plan;
  std::vector<Sample> samples;  // in planned order
  Verdict verdict;
  std::map<std::pair<int, char>, LoadRates> rates;  // by cell and arm, where the target has them
  std::filesystem::path result_file;
  std::optional<Ceilings> ceilings;  // of this machine, where the target has them
};

// std::runtime_error when a sample cannot be taken, more than max_failed samples failed, the primary metric is absent, the time is
// up or the user interrupts; finished samples stay in the journal and the message says how to go on.
RunOutcome run_scenario(const Scenario& scenario, Target& target, const RunOptions& options);

// How long the rest takes, from the mean wall time of the samples in the journal of `folder`; absent without one.
std::optional<double> journal_seconds_per_sample(const std::filesystem::path& folder);

}  // namespace crossover
