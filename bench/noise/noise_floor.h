// How far a program differs from itself on this machine: comparisons of A with A, through the same steps as those of A with B.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "bench/judge/stats.h"

namespace crossover {

inline constexpr int kFewestComparisons = 10, kFewestPairsOfComparison = 4;

// Of one metric, variances of ln ratios.
struct NoiseFloor {
  double within = 0;   // w^2: of a pair's difference inside a comparison
  double between = 0;  // b^2: of a comparison's effect, in excess of w^2 / n; what more pairs do not help against
  int comparisons = 0;
  int pairs = 0;       // of each comparison, the fewest

  double at(int n) const;  // 1.96 sqrt(b^2 + w^2 / n), on the ln scale
};

// One-way random effects by moments (Searle, Casella, McCulloch: Variance Components, 1992, chapter 3), about the mean that A against
// A is known to have, 0. Comparisons too small for a variance are left out and not counted.
NoiseFloor estimate_noise_floor(const std::vector<std::vector<PairDifference>>& comparisons);

// Of one cell of a scenario.
struct CellNoise {
  std::map<std::string, NoiseFloor> metrics;
  std::string from;  // "10 A/A comparisons of 4 pairs on 2026-11-21"; empty = not measured

  const NoiseFloor* find(const std::string& metric) const {
    const auto it = metrics.find(metric);
    return it == metrics.end() ? nullptr : &it->second;
  }
};

using NoiseFloors = std::vector<CellNoise>;  // by cell; a cell beyond the end was not measured

}  // namespace crossover
