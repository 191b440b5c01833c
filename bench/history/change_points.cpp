#include "bench/history/change_points.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "bench/random.h"

namespace crossover {

namespace {

constexpr std::size_t kSmallestSide = 2;  // a side of one value has no distances within

struct Division {
  std::size_t at = 0;
  double gain = -1;  // mn/(m+n) times the energy distance of the two sides, exponent 1
};

// Of values[begin, end): sides [begin, at) and [at, last), the last one free, so that a level that comes and goes is seen too.
// Sums of distances within a side grow by one value's distances at a time.
Division best_division(const std::vector<double>& values, std::size_t begin, std::size_t end) {
  Division best;
  if (end - begin < 2 * kSmallestSide) return best;
  const std::size_t size = end - begin;
  std::vector<double> from_begin(size, 0.0), from_at(size, 0.0);  // sums over [begin, j] and over [at, j], j relative to begin
  for (std::size_t j = 1; j < size; ++j) {
    double added = 0;
    for (std::size_t i = 0; i < j; ++i) added += std::abs(values[begin + i] - values[begin + j]);
    from_begin[j] = from_begin[j - 1] + added;
  }
  for (std::size_t at = size; at-- > kSmallestSide;) {
    double added = 0;
    const double left = from_begin[at - 1], m = static_cast<double>(at);
    for (std::size_t j = at + 1; j < size; ++j) {
      added += std::abs(values[begin + at] - values[begin + j]);
      from_at[j] += added;
      const double n = static_cast<double>(j + 1 - at), across = from_begin[j] - left - from_at[j];
      const double energy = 2 * across / (m * n) - 2 * left / (m * (m - 1)) - 2 * from_at[j] / (n * (n - 1));
      const double gain = m * n / (m + n) * energy;
      if (gain > best.gain) best = {begin + at, gain};
    }
  }
  return best;
}

// `edges`: begin of every segment, and the end of the last.
Division best_over(const std::vector<double>& values, const std::vector<std::size_t>& edges) {
  Division best;
  for (std::size_t i = 0; i + 1 < edges.size(); ++i)
    if (const Division division = best_division(values, edges[i], edges[i + 1]); division.gain > best.gain) best = division;
  return best;
}

void shuffle_segments(std::vector<double>& values, const std::vector<std::size_t>& edges, Random& random) {
  for (std::size_t s = 0; s + 1 < edges.size(); ++s)
    for (std::size_t i = edges[s + 1] - edges[s]; i > 1; --i)
      std::swap(values[edges[s] + i - 1], values[edges[s] + static_cast<std::size_t>(random.below(i))]);
}

double p_value(const std::vector<double>& values, const std::vector<std::size_t>& edges, double gain, const ChangePointOptions& options,
               Random& random) {
  std::vector<double> shuffled = values;
  const double as_good = gain * (1 - 1e-12);  // the same sums in another order
  int found = 1;                              // the series itself
  for (int i = 0; i < options.permutations; ++i) {
    shuffle_segments(shuffled, edges, random);
    found += best_over(shuffled, edges).gain >= as_good ? 1 : 0;
  }
  return static_cast<double>(found) / (options.permutations + 1);
}

}  // namespace

int fewest_values(double false_alarms) {
  double orders = 1;  // n! / (n/2)!^2, n even
  for (int half = 1;; ++half) {
    orders *= 2.0 * (2 * half - 1) / half;
    if (2 / orders <= false_alarms) return 2 * half;
  }
}

std::vector<ChangePoint> change_points(const std::vector<double>& values, const ChangePointOptions& options) {
  if (!(options.false_alarms > 0 && options.false_alarms < 1)) throw std::invalid_argument("the share of false alarms lies between 0 and 1");
  for (const double value : values)
    if (!std::isfinite(value)) throw std::invalid_argument("a value of the series is not finite");
  std::vector<ChangePoint> found;
  if (static_cast<int>(values.size()) < fewest_values(options.false_alarms)) return found;
  std::vector<std::size_t> edges{0, values.size()};
  Random random{options.seed};
  for (;;) {
    const Division division = best_over(values, edges);
    if (division.gain <= 0) break;
    const double p = p_value(values, edges, division.gain, options, random);
    if (p > options.false_alarms) break;
    found.push_back({division.at, p});
    edges.insert(std::upper_bound(edges.begin(), edges.end(), division.at), division.at);
  }
  std::sort(found.begin(), found.end(), [](const ChangePoint& x, const ChangePoint& y) { return x.at < y.at; });
  return found;
}

}  // namespace crossover
