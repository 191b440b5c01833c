// Where a series changed its level: E-divisive (Matteson & James 2014, "A nonparametric approach for multiple change point analysis of
// multivariate data", JASA 109), the method behind the performance checks of MongoDB and Hunter. The best division by energy distance is
// kept when it beats those of random permutations of the series; then each side is divided in turn, until one is not.
#pragma once

#include <cstdint>
#include <vector>

namespace crossover {

struct ChangePointOptions {
  double false_alarms = 0.05;  // share of the series without a change in which one is found
  int permutations = 999;
  std::uint64_t seed = 1;
};

struct ChangePoint {
  std::size_t at;   // index of the first value of the new level
  double p_value;   // share of the permutations with a division as good, the series itself counted
};

// Values that are exchangeable where nothing changes. In order; none in a series too short for one to be found
// (fewest_values). std::invalid_argument for a value that is not finite or a share outside (0, 1).
std::vector<ChangePoint> change_points(const std::vector<double>& values, const ChangePointOptions& options = {});

// Values below which no series, however clear its step, can show a change at this rate of false alarms: of the orders of n values,
// 2 (n/2)!^2 / n! look like a step in the middle.
int fewest_values(double false_alarms);

}  // namespace crossover
