// Expected numbers: NumPy 2 least squares of d on (1, +-1 order code) and SciPy 1.17 t distribution, which is the same model by
// another route; Wilcoxon's published critical values (two-sided .05: n = 6, 8, 10, 12 -> 0, 3, 8, 13) through exact intervals.
#include "bench/stats.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <random>

namespace crossover {
namespace {

const std::vector<double> kD{0.031, -0.012, 0.044, 0.008, 0.027, -0.005, 0.051, 0.019};
const std::vector<bool> kAFirst{true, false, true, false, false, true, true, false};

std::vector<PairDifference> example() {
  std::vector<PairDifference> pairs;
  for (std::size_t i = 0; i < kD.size(); ++i) pairs.push_back({kD[i], kAFirst[i]});
  return pairs;
}

TEST(CrossoverT, EqualsLeastSquaresWithAnOrderTerm) {
  const CrossoverEstimate e = crossover_t(example());
  EXPECT_NEAR(e.effect, 0.020375, 1e-12);
  EXPECT_NEAR(e.order_effect, 0.009875, 1e-12);
  EXPECT_NEAR(*e.standard_error, 0.0075273805758267155, 1e-12);
  EXPECT_NEAR(e.interval->low, 0.0019561632609310965, 1e-9);
  EXPECT_NEAR(e.interval->high, 0.0387938367390689, 1e-9);
  EXPECT_NEAR(e.order_interval->low, -0.008543836739068906, 1e-9);
  EXPECT_NEAR(e.equivalence_interval->low, 0.005747942501119591, 1e-9);
  EXPECT_NEAR(e.equivalence_interval->high, 0.03500205749888041, 1e-9);
  EXPECT_NEAR(*e.p_value, 0.03525643442610673, 1e-9);
}

TEST(CrossoverT, FewerThanTwoPairsOfAnOrderGiveNoInterval) {
  EXPECT_FALSE(crossover_t({{0.1, true}, {0.2, false}}).interval);
  EXPECT_FALSE(crossover_t({{0.1, true}, {0.2, true}, {0.3, true}, {0.1, false}}).interval);
  EXPECT_NEAR(crossover_t({{0.1, true}, {0.3, true}}).effect, 0.2, 1e-15);
  EXPECT_FALSE(crossover_t({{0.1, true}, {0.3, true}}).p_value);
  EXPECT_TRUE(crossover_t({{0.1, true}, {0.2, true}, {0.3, false}, {0.1, false}}).interval);
}

TEST(CrossoverT, EqualDifferencesHaveNoSpread) {
  const CrossoverEstimate e = crossover_t({{0.1, true}, {0.1, true}, {0.1, false}, {0.1, false}});
  EXPECT_EQ(*e.standard_error, 0);
  EXPECT_EQ(*e.p_value, 0);
  const CrossoverEstimate none = crossover_t({{0, true}, {0, true}, {0, false}, {0, false}});
  EXPECT_EQ(*none.p_value, 1);
}

TEST(CrossoverT, RefusesNothingAndWhatIsNotFinite) {
  EXPECT_THROW(crossover_t({}), std::invalid_argument);
  EXPECT_THROW(crossover_t({{std::numeric_limits<double>::quiet_NaN(), true}}), std::invalid_argument);
}

// Balanced random order, 8 pairs, no effect: the share of intervals that exclude 0. 4,000 trials: standard error 0.35 %.
double false_alarm_rate(const std::function<double(int pair, bool a_first, std::mt19937_64&)>& difference) {
  std::mt19937_64 random(11);
  int alarms = 0;
  constexpr int kTrials = 4000;
  for (int trial = 0; trial < kTrials; ++trial) {
    std::vector<char> a_first{1, 1, 1, 1, 0, 0, 0, 0};
    for (std::size_t i = 7; i > 0; --i) std::swap(a_first[i], a_first[random() % (i + 1)]);
    std::vector<PairDifference> pairs;
    for (int p = 0; p < 8; ++p) pairs.push_back({difference(p, a_first[p] != 0, random), a_first[p] != 0});
    const CrossoverEstimate e = crossover_t(pairs);
    alarms += e.interval->low > 0 || e.interval->high < 0;
  }
  return static_cast<double>(alarms) / kTrials;
}

TEST(CrossoverT, KeepsItsErrorRateUnderDriftAndOrderEffects) {
  std::normal_distribution<double> noise(0, 1);
  auto sign = [](bool a_first) { return a_first ? 1.0 : -1.0; };  // B comes second in AB, first in BA
  EXPECT_LE(false_alarm_rate([&](int, bool, auto& r) { return noise(r); }), 0.057);
  EXPECT_LE(false_alarm_rate([&](int, bool a, auto& r) { return noise(r) + sign(a) * 3.0 / 16; }), 0.057);  // linear drift of 3 sigma
  EXPECT_LE(false_alarm_rate([&](int, bool a, auto& r) { return noise(r) + sign(a) * 3.0; }), 0.057);       // order effect
  EXPECT_LE(false_alarm_rate([&](int p, bool a, auto& r) { return noise(r) - sign(a) * 3.0 * std::exp(-p); }), 0.057);  // warm-up
}

TEST(HodgesLehmann, MedianAndExactIntervalOfWalshAverages) {
  const HodgesLehmann h = hodges_lehmann(kD);
  EXPECT_NEAR(h.estimate, 0.0195, 1e-12);
  EXPECT_NEAR(h.interval->low, -0.002, 1e-12);  // 4th smallest of 36: critical value 3
  EXPECT_NEAR(h.interval->high, 0.041, 1e-12);
}

TEST(HodgesLehmann, CriticalValuesArePublishedOnes) {
  const int sizes[] = {6, 8, 10, 12}, critical[] = {0, 3, 8, 13};
  for (int i = 0; i < 4; ++i) {
    // Powers of two, so that every Walsh average is a different number and the interval's rank can be read off.
    std::vector<double> d, walsh;
    for (int j = 0; j < sizes[i]; ++j) d.push_back(std::ldexp(1.0, j));
    for (std::size_t a = 0; a < d.size(); ++a)
      for (std::size_t b = a; b < d.size(); ++b) walsh.push_back((d[a] + d[b]) / 2);
    std::sort(walsh.begin(), walsh.end());
    EXPECT_EQ(hodges_lehmann(d).interval->low, walsh[critical[i]]) << sizes[i];
    EXPECT_EQ(hodges_lehmann(d).interval->high, walsh[walsh.size() - 1 - critical[i]]) << sizes[i];
  }
  EXPECT_FALSE(hodges_lehmann({1, 2, 3, 4, 5}).interval);
  EXPECT_THROW(hodges_lehmann({}), std::invalid_argument);
}

TEST(Quantile, MatchesTables) {
  EXPECT_NEAR(student_t_quantile(0.975, 2), 4.302652729749462, 1e-9);
  EXPECT_NEAR(student_t_quantile(0.975, 10), 2.228138851986274, 1e-9);
  EXPECT_NEAR(student_t_quantile(0.8, 6), 0.9057032851805317, 1e-9);
}

TEST(MinimumDetectableEffect, IsTheLargerOfBothBounds) {
  EXPECT_NEAR(minimum_detectable_effect(1, 6, 0), 2.4469118511449786 + 0.9057032851805317, 1e-9);
  EXPECT_NEAR(minimum_detectable_effect(1, 6, 10), 10 + 0.9057032851805317, 1e-9);
}

TEST(PairsNeeded, EnoughWouldDecideAndOneFewerPairWouldNot) {
  CrossoverEstimate e = crossover_t(example());
  e.effect = 0.03;
  const double tau = 0.02, spread = *e.standard_error * std::sqrt(8.0);
  const int n = *pairs_needed(e, tau);
  auto decides = [&](int pairs) { return 0.03 > student_t_quantile(0.975, pairs - 2) * spread / std::sqrt(static_cast<double>(pairs)); };
  EXPECT_TRUE(decides(n));
  EXPECT_EQ(n % 2, 0);
  EXPECT_EQ(n, 8);  // decided already
  e.effect = tau;  // exactly at the threshold nothing ever decides
  EXPECT_FALSE(pairs_needed(e, tau));
  e.effect = 0.019;  // just inside: equivalence needs many
  EXPECT_GT(*pairs_needed(e, tau, 100000), 100);
}

TEST(Holm, StepsDown) {
  // By hand: sorted .005 .01 .03 .04 times 4 3 2 1 = .02 .03 .06 .04, then made monotone: .02 .03 .06 .06.
  const std::vector<double> adjusted = holm({0.01, 0.04, 0.03, 0.005});
  const double expected[] = {0.03, 0.06, 0.06, 0.02};
  for (std::size_t i = 0; i < 4; ++i) EXPECT_NEAR(adjusted[i], expected[i], 1e-15);
  EXPECT_EQ(holm({0.9, 0.8})[0], 1.0);
  EXPECT_TRUE(holm({}).empty());
}

TEST(Percent, IsItsOwnInverse) {
  EXPECT_NEAR(percent(std::log(0.9)), -10, 1e-12);
  EXPECT_NEAR(ln_of_percent(percent(0.123)), 0.123, 1e-15);
}

}  // namespace
}  // namespace crossover
