#include "bench/stats.h"

#include <algorithm>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <numeric>
#include <stdexcept>
#include <string>

namespace crossover {
namespace {

constexpr double kPower = 0.80;

double mean(const std::vector<double>& values) { return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size()); }

double squared_deviations(const std::vector<double>& values) {
  const double m = mean(values);
  return std::accumulate(values.begin(), values.end(), 0.0, [m](double sum, double x) { return sum + (x - m) * (x - m); });
}

Interval around(double centre, double half) { return {centre - half, centre + half}; }

// Number of subsets of {1..n} with each sum: the null distribution of the signed-rank statistic times 2^n. Exact in double up to
// n = 53; beyond that relative rounding is 1e-16 per addition.
std::vector<double> signed_rank_counts(int n) {
  std::vector<double> counts(static_cast<std::size_t>(n * (n + 1) / 2 + 1), 0.0);
  counts[0] = 1;
  int reachable = 0;
  for (int rank = 1; rank <= n; ++rank) {
    reachable += rank;
    for (int sum = reachable; sum >= rank; --sum) counts[static_cast<std::size_t>(sum)] += counts[static_cast<std::size_t>(sum - rank)];
  }
  return counts;
}

// Largest k with P(W <= k) <= tail; -1 when even W = 0 is likelier than that.
int signed_rank_critical(int n, double tail) {
  const std::vector<double> counts = signed_rank_counts(n);
  const double total = std::ldexp(1.0, n);
  double below = 0;
  int k = -1;
  for (std::size_t w = 0; w < counts.size(); ++w) {
    below += counts[w] / total;
    if (below > tail) break;
    k = static_cast<int>(w);
  }
  return k;
}

double median_of_sorted(const std::vector<double>& sorted) {
  const std::size_t n = sorted.size();
  return n % 2 ? sorted[n / 2] : 0.5 * (sorted[n / 2 - 1] + sorted[n / 2]);
}

}  // namespace

double student_t_quantile(double p, int df) { return boost::math::quantile(boost::math::students_t(df), p); }

double percent(double ln_ratio) { return 100.0 * std::expm1(ln_ratio); }
double ln_of_percent(double percent) { return std::log1p(percent / 100.0); }

CrossoverEstimate crossover_t(const std::vector<PairDifference>& pairs, double confidence) {
  if (pairs.empty()) throw std::invalid_argument("no pairs to estimate an effect from");
  std::vector<double> ab, ba;
  for (const PairDifference& pair : pairs) {
    if (!std::isfinite(pair.d)) throw std::invalid_argument("a pair's log ratio is not finite; both samples of a pair must be positive");
    (pair.a_first ? ab : ba).push_back(pair.d);
  }
  CrossoverEstimate estimate;
  estimate.pairs = static_cast<int>(pairs.size());
  if (ab.empty() || ba.empty()) {  // the order effect cannot be told from the effect: a plain mean, and no interval
    estimate.effect = mean(ab.empty() ? ba : ab);
    return estimate;
  }
  estimate.effect = (mean(ab) + mean(ba)) / 2;
  estimate.order_effect = (mean(ab) - mean(ba)) / 2;
  if (ab.size() < 2 || ba.size() < 2) return estimate;
  const int df = estimate.pairs - 2;
  const double variance = (squared_deviations(ab) + squared_deviations(ba)) / df;
  const double n_ab = static_cast<double>(ab.size()), n_ba = static_cast<double>(ba.size());
  const double se = std::sqrt(variance * (1 / n_ab + 1 / n_ba)) / 2;
  estimate.standard_error = se;
  const double t = student_t_quantile(0.5 + confidence / 2, df);
  estimate.interval = around(estimate.effect, t * se);
  estimate.order_interval = around(estimate.order_effect, t * se);
  estimate.equivalence_interval = around(estimate.effect, student_t_quantile(0.95, df) * se);
  if (se > 0) estimate.p_value = 2 * boost::math::cdf(boost::math::complement(boost::math::students_t(df), std::abs(estimate.effect) / se));
  else estimate.p_value = estimate.effect == 0 ? 1.0 : 0.0;
  return estimate;
}

HodgesLehmann hodges_lehmann(const std::vector<double>& d, double confidence) {
  if (d.empty()) throw std::invalid_argument("no values for a Hodges-Lehmann estimate");
  std::vector<double> walsh;
  for (std::size_t i = 0; i < d.size(); ++i)
    for (std::size_t j = i; j < d.size(); ++j) walsh.push_back((d[i] + d[j]) / 2);
  std::sort(walsh.begin(), walsh.end());
  HodgesLehmann result{median_of_sorted(walsh), std::nullopt};
  constexpr int kSmallest = 6;  // below, even the whole range covers less than 95 %
  const int n = static_cast<int>(d.size());
  if (n < kSmallest) return result;
  const int k = signed_rank_critical(n, (1 - confidence) / 2);
  if (k < 0) return result;
  // The signed-rank statistic counts the positive Walsh averages, so the interval runs from the (k+1)-th smallest to the
  // (k+1)-th largest (Hollander & Wolfe, section 3.3).
  result.interval = Interval{walsh[static_cast<std::size_t>(k)], walsh[walsh.size() - 1 - static_cast<std::size_t>(k)]};
  return result;
}

double minimum_detectable_effect(double standard_error, int df, double tau) {
  const double power = student_t_quantile(kPower, df) * standard_error;
  return std::max(student_t_quantile(0.975, df) * standard_error + power, tau + power);
}

std::optional<int> pairs_needed(const CrossoverEstimate& estimate, double tau, int most) {
  if (!estimate.standard_error) return std::nullopt;
  const double spread = *estimate.standard_error * std::sqrt(static_cast<double>(estimate.pairs));  // SE of one pair
  const double distance = std::abs(estimate.effect);
  for (int n = estimate.pairs + estimate.pairs % 2; n <= most; n += 2) {
    const double se = spread / std::sqrt(static_cast<double>(n));
    const bool different = distance > tau && distance > student_t_quantile(0.975, n - 2) * se;
    const bool equivalent = distance + student_t_quantile(0.95, n - 2) * se < tau;
    if (different || equivalent) return n;
  }
  return std::nullopt;
}

std::vector<double> holm(const std::vector<double>& p_values) {
  std::vector<std::size_t> order(p_values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return p_values[a] < p_values[b]; });
  std::vector<double> adjusted(p_values.size());
  double highest = 0;
  for (std::size_t i = 0; i < order.size(); ++i) {
    highest = std::max(highest, std::min(1.0, static_cast<double>(order.size() - i) * p_values[order[i]]));
    adjusted[order[i]] = highest;
  }
  return adjusted;
}

}  // namespace crossover
