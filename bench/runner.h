// One scenario from its plan to its result file, as named steps: prepare, journal, samples, controls, analyse, write.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bench/judge/verdict.h"
#include "bench/plan.h"
#include "bench/plan_record.h"
#include "bench/process/child_environment.h"
#include "bench/scenario.h"
#include "bench/targets/target.h"

namespace crossover {

struct RunOptions {
  std::filesystem::path out;
  std::filesystem::path resume_out;             // to be named when a run stops early, where it is part of another; else `out`
  bool resume = false, quiet = false;
  std::optional<double> max_time_s;             // no sample starts that would end later
  AmbientEnvironment ambient;
  PlanRecord record;                            // of a new run; a resumed one goes on with what it began with
  std::function<void(const std::string&)> say;  // one line of diagnostics; may be empty
};

struct Look {
  int pairs = 0;
  Word word = Word::kInconclusive;
  double alpha_spent = 0;  // chance of a false verdict at this look or an earlier one
};

struct RunOutcome {
  Plan plan;
  std::vector<Sample> samples;  // in planned order
  std::vector<Sample> traces;   // one of each arm and cell where the target can, or of the first of more than 8 cells; not analysed
  Verdict verdict;
  std::map<std::pair<int, char>, LoadRates> rates;  // by cell and arm, where the target has them
  std::filesystem::path result_file;
  std::optional<Ceilings> ceilings;  // of this machine, where the target has them
  std::vector<Look> looks;                // taken, the last one being that of the verdict
  std::optional<ExtendedPlan> extends;
};

// std::runtime_error when a sample cannot be taken, more than max_failed samples failed, the primary metric is absent, the time is
// up or the user interrupts; finished samples stay in the journal and the message says how to go on.
RunOutcome run_scenario(const Scenario& scenario, Target& target, const RunOptions& options);

// Prepares and takes one sample that is not kept: how many seconds it took, conditioning included. std::runtime_error when it failed.
double rehearse_s(const Scenario& scenario, Target& target, const RunOptions& options);

// How long the rest takes, from the mean wall time of the samples in the journal of `folder`; absent without one.
std::optional<double> journal_seconds_per_sample(const std::filesystem::path& folder);

}  // namespace crossover
