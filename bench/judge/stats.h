// The statistics of a two-arm crossover trial, all on the ln scale: d = ln(B / A) of a pair of adjacent samples of a time-like
// metric, negative = B faster. The unit is the pair of fresh processes. Intervals are two-sided.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

namespace crossover {

struct PairDifference {
  double d;        // ln(B / A)
  bool a_first;    // order AB
};

struct Interval { double low, high; };

struct CrossoverEstimate {
  int pairs = 0;                       // n
  double effect = 0;                   // (mean of d over AB + mean over BA) / 2
  double order_effect = 0;             // (mean over AB - mean over BA) / 2
  // Below need two pairs in each order; absent otherwise.
  std::optional<double> standard_error;      // variance pooled within order, df = n - 2
  std::optional<Interval> interval;          // of the effect at `confidence`
  std::optional<Interval> order_interval;
  std::optional<Interval> equivalence_interval;  // at 2 confidence - 1, 90 % for 95 %: inside +-tau means equivalent (TOST, Schuirmann 1987)
  std::optional<double> p_value;             // of "no effect", two-sided
};

// Grizzle (1965) without carry-over; both orders must occur. std::invalid_argument for no pairs or a d that is not finite.
CrossoverEstimate crossover_t(const std::vector<PairDifference>& pairs, double confidence = 0.95);

struct HodgesLehmann {
  double estimate;                    // median of the Walsh averages
  std::optional<Interval> interval;   // signed-rank interval; absent below 6 values
};
// Exact up to 100 values; beyond, the rank comes from the normal approximation (Hollander & Wolfe, section 3.3). Time grows with
// n log n, so thousands of pairs are fine.
HodgesLehmann hodges_lehmann(const std::vector<double>& d, double confidence = 0.95);

// Smallest effect found with 80 % power: max((t.975 + t.80) SE, tau + t.80 SE), t with df degrees of freedom (Bloom 1995); t.975
// is that of a two-sided `alpha` of 5 %.
double minimum_detectable_effect(double standard_error, int df, double tau, double alpha = 0.05);

// Pairs at which the observed effect, or equivalence where it is small, would be decided, were the spread to stay; even, at least
// the number there is. Absent when more than `most` would be needed.
std::optional<int> pairs_needed(const CrossoverEstimate& estimate, double tau, int most = 1000, double alpha = 0.05);

// The same where tau falls with the number of pairs, as that of a noise floor does.
std::optional<int> pairs_needed(const CrossoverEstimate& estimate, const std::function<double(int)>& tau_at, int most = 1000, double alpha = 0.05);

// Holm (1979): adjusted p-values in the order given.
std::vector<double> holm(const std::vector<double>& p_values);

// Two-sided Student t quantile t_{p, df}.
double student_t_quantile(double p, int df);

double percent(double ln_ratio);       // 100 (e^x - 1)
double ln_of_percent(double percent);  // ln(1 + x/100)

}  // namespace crossover
