#include "bench/judge/stats.h"

#include <algorithm>
#include <boost/math/distributions/normal.hpp>
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

// Largest k with P(W <= k) <= tail for the signed-rank statistic W of n values; -1 when even W = 0 is likelier than that.
int signed_rank_critical(int n, double tail) {
  constexpr int kMostExact = 100;  // a table of n^2 / 2 probabilities, filled n times
  if (n > kMostExact) {
    const double mean = 0.25 * n * (n + 1.0), deviation = std::sqrt(n * (n + 1.0) * (2.0 * n + 1) / 24);
    return static_cast<int>(std::floor(mean - 0.5 + deviation * boost::math::quantile(boost::math::normal(), tail)));
  }
  // chance[s]: that the ranks up to the present one, each counted with probability 1/2, sum to s.
  std::vector<double> chance(static_cast<std::size_t>(n * (n + 1) / 2 + 1), 0.0);
  chance[0] = 1;
  int reachable = 0;
  for (int rank = 1; rank <= n; ++rank) {
    reachable += rank;
    for (int sum = reachable; sum >= 0; --sum) {
      const double without = chance[static_cast<std::size_t>(sum)];
      const double with = sum >= rank ? chance[static_cast<std::size_t>(sum - rank)] : 0;
      chance[static_cast<std::size_t>(sum)] = 0.5 * (without + with);
    }
  }
  double below = 0;
  int k = -1;
  for (std::size_t w = 0; w < chance.size(); ++w) {
    below += chance[w];
    if (below > tail) break;
    k = static_cast<int>(w);
  }
  return k;
}

// The averages (d_i + d_j) / 2 of all i <= j, without making them: there are n^2 / 2.
class WalshAverages {
 public:
  explicit WalshAverages(std::vector<double> d) : d_(std::move(d)) { std::sort(d_.begin(), d_.end()); }

  std::int64_t size() const { return count_ * (count_ + 1) / 2; }

  double smallest(std::int64_t k) const {  // k-th, from 0; halves the range of the doubles until two neighbours are left
    double low = d_.front(), high = d_.back();
    if (at_most(low) > k) return low;
    while (true) {
      const double middle = low + (high - low) / 2;
      if (middle <= low || middle >= high) return high;
      (at_most(middle) > k ? high : low) = middle;
    }
  }

  double median() const {
    const std::int64_t n = size();
    return n % 2 ? smallest(n / 2) : 0.5 * (smallest(n / 2 - 1) + smallest(n / 2));
  }

 private:
  std::int64_t at_most(double x) const {
    std::int64_t count = 0;
    std::size_t j = d_.size();
    for (std::size_t i = 0; i < d_.size(); ++i) {
      while (j > i && (d_[i] + d_[j - 1]) / 2 > x) --j;
      if (j <= i) break;
      count += static_cast<std::int64_t>(j - i);
    }
    return count;
  }

  std::vector<double> d_;
  std::int64_t count_ = static_cast<std::int64_t>(d_.size());
};

// With n pairs, were the effect and the spread to stay as they are.
bool would_decide(const CrossoverEstimate& estimate, int n, double tau, double alpha) {
  const double se = *estimate.standard_error * std::sqrt(static_cast<double>(estimate.pairs) / n);
  const double distance = std::abs(estimate.effect);
  const bool different = distance > tau && distance > student_t_quantile(1 - alpha / 2, n - 2) * se;
  return different || distance + student_t_quantile(1 - alpha, n - 2) * se < tau;
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
  estimate.equivalence_interval = around(estimate.effect, student_t_quantile(confidence, df) * se);
  if (se > 0) estimate.p_value = 2 * boost::math::cdf(boost::math::complement(boost::math::students_t(df), std::abs(estimate.effect) / se));
  else estimate.p_value = estimate.effect == 0 ? 1.0 : 0.0;
  return estimate;
}

HodgesLehmann hodges_lehmann(const std::vector<double>& d, double confidence) {
  if (d.empty()) throw std::invalid_argument("no values for a Hodges-Lehmann estimate");
  const WalshAverages walsh(d);
  HodgesLehmann result{walsh.median(), std::nullopt};
  constexpr int kSmallest = 6;  // below, even the whole range covers less than 95 %
  const int n = static_cast<int>(d.size());
  if (n < kSmallest) return result;
  const int k = signed_rank_critical(n, (1 - confidence) / 2);
  if (k < 0) return result;
  // The signed-rank statistic counts the positive Walsh averages, so the interval runs from the (k+1)-th smallest to the
  // (k+1)-th largest (Hollander & Wolfe, section 3.3).
  result.interval = Interval{walsh.smallest(k), walsh.smallest(walsh.size() - 1 - k)};
  return result;
}

double minimum_detectable_effect(double standard_error, int df, double tau, double alpha) {
  const double power = student_t_quantile(kPower, df) * standard_error;
  return std::max(student_t_quantile(1 - alpha / 2, df) * standard_error + power, tau + power);
}

std::optional<int> pairs_needed(const CrossoverEstimate& estimate, double tau, int most, double alpha) {
  if (!estimate.standard_error) return std::nullopt;
  // More pairs only narrow the intervals, so what is decided at n stays decided: halve the range.
  int low = (estimate.pairs + 1) / 2, high = most / 2;  // in steps of two pairs
  if (low > high || !would_decide(estimate, 2 * high, tau, alpha)) return std::nullopt;
  while (low < high) {
    const int middle = (low + high) / 2;
    if (would_decide(estimate, 2 * middle, tau, alpha)) high = middle;
    else low = middle + 1;
  }
  return 2 * low;
}

std::optional<int> pairs_needed(const CrossoverEstimate& estimate, const std::function<double(int)>& tau_at, int most, double alpha) {
  if (!estimate.standard_error) return std::nullopt;
  for (int n = estimate.pairs + estimate.pairs % 2; n <= most; n += 2)
    if (would_decide(estimate, n, tau_at(n), alpha)) return n;
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
