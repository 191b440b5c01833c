// Measures the noise floor of a scenario: comparisons of A with itself, each a complete run.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "bench/noise/noise_store.h"
#include "bench/runner.h"

namespace crossover {

struct NoisePlan {
  int comparisons = kFewestComparisons;
  int pairs = kFewestPairsOfComparison;
};

// The scenario with its A in both arms. A sweep over B alone falls away, one over A moves both; what only unlike arms can keep
// (expect.differs, paths of B) is dropped. std::invalid_argument for fewer than 10 comparisons or 4 pairs.
Scenario a_against_a(const Scenario& scenario, const NoisePlan& plan, int comparison);

struct NoiseResult {
  Scenario scenario;                  // the first comparison's: its cells are those measured
  std::vector<NoiseMeasured> cells;
  int invalid = 0;                    // comparisons left out
  std::string why_invalid;            // of the first of them
  double seconds = 0;
};

// Each comparison in a folder of its own below options.out; with options.resume those that are there are gone on with. Says the time
// that it will take before it takes it. A comparison that is INVALID is repeated; std::runtime_error when one in five is.
NoiseResult measure_noise(const Scenario& scenario, const NoisePlan& plan, Target& target, const RunOptions& options);

}  // namespace crossover
