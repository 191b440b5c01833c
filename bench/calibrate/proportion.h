// A share of trials, with what the number of trials lets it say.
#pragma once

#include <cstdint>

#include "bench/judge/stats.h"

namespace crossover {

struct Proportion {
  std::int64_t count = 0, of = 0;
  double share() const { return static_cast<double>(count) / static_cast<double>(of); }
};

// Clopper and Pearson (1934): covers the true share with at least the confidence, whatever it is. std::invalid_argument when count is
// not between 0 and `of`, or `of` is 0.
Interval exact_interval(Proportion proportion, double confidence = 0.95);

}  // namespace crossover
