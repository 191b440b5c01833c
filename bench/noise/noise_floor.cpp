#include "bench/noise/noise_floor.h"

#include <algorithm>
#include <cmath>

namespace crossover {

double NoiseFloor::at(int n) const {
  constexpr double kNormal975 = 1.96;
  return kNormal975 * std::sqrt(between + within / n);
}

NoiseFloor estimate_noise_floor(const std::vector<std::vector<PairDifference>>& comparisons) {
  NoiseFloor floor;
  double squares = 0, freedom = 0;              // within
  double effects_squared = 0, shares = 0;       // of the comparisons: effect^2, and w^2's part in it
  for (const std::vector<PairDifference>& pairs : comparisons) {
    if (pairs.empty()) continue;
    const CrossoverEstimate estimate = crossover_t(pairs);
    if (!estimate.standard_error) continue;
    double n_ab = 0;
    for (const PairDifference& pair : pairs) n_ab += pair.a_first ? 1 : 0;
    const double n_ba = estimate.pairs - n_ab, df = estimate.pairs - 2;
    const double share = (1 / n_ab + 1 / n_ba) / 4;  // 1 / n where the orders balance
    squares += df * *estimate.standard_error * *estimate.standard_error / share;
    freedom += df;
    effects_squared += estimate.effect * estimate.effect;
    shares += share;
    floor.pairs = floor.comparisons == 0 ? estimate.pairs : std::min(floor.pairs, estimate.pairs);
    ++floor.comparisons;
  }
  if (floor.comparisons == 0) return floor;
  floor.within = squares / freedom;
  floor.between = std::max(0.0, (effects_squared - floor.within * shares) / floor.comparisons);
  return floor;
}

}  // namespace crossover
