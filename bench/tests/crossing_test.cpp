#include "bench/judge/crossing.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <stdexcept>

#include "bench/tests/simulation.h"

namespace crossover {
namespace {

std::vector<CurvePoint> curve(const std::vector<double>& effects, double standard_error = 0.01, double axis = 64) {
  std::vector<CurvePoint> points;
  for (const double effect : effects) points.push_back({axis, effect, standard_error, 6}), axis *= 2;
  return points;
}

// The interval by brute force: SciPy's t quantile, |effect| <= t SE tested at four million places of the axis.
TEST(Crossing, IntervalHoldsWhatIsNotRejected) {
  std::vector<CurvePoint> points = curve({.10, .06, .01, -.05, -.12});
  const double errors[] = {.010, .012, .011, .009, .010};
  for (std::size_t i = 0; i < 5; ++i) points[i].standard_error = errors[i];
  const std::vector<Crossing> crossings = find_crossings(points);
  ASSERT_EQ(crossings.size(), 1U);
  EXPECT_NEAR(crossings[0].at, 287.3502843672, 1e-6);  // 256 x 2^(1/6)
  EXPECT_NEAR(*crossings[0].low, 217.5964184, 2e-3);   // in the segment before
  EXPECT_NEAR(*crossings[0].high, 352.5487608, 2e-3);
  EXPECT_TRUE(crossings[0].shown);
  EXPECT_TRUE(crossings[0].b_wins_above);
}

TEST(Crossing, IsTheSameFromEitherSideAndInAnyOrder) {
  std::vector<CurvePoint> points = curve({-.10, -.03, .06, .12});
  std::swap(points[0], points[3]), std::swap(points[1], points[2]);
  const std::vector<Crossing> up = find_crossings(points);
  const std::vector<Crossing> down = find_crossings(curve({.10, .03, -.06, -.12}));
  ASSERT_EQ(up.size(), 1U);
  EXPECT_DOUBLE_EQ(up[0].at, down[0].at);
  EXPECT_DOUBLE_EQ(*up[0].low, *down[0].low);
  EXPECT_FALSE(up[0].b_wins_above);
  EXPECT_TRUE(down[0].b_wins_above);
}

TEST(Crossing, HasNoEndWhereTheSweepHasNone) {
  const std::vector<Crossing> crossings = find_crossings(curve({.10, .05, -.005}));
  ASSERT_EQ(crossings.size(), 1U);
  EXPECT_TRUE(crossings[0].low.has_value());
  EXPECT_FALSE(crossings[0].high.has_value());
  EXPECT_FALSE(crossings[0].shown);
  const std::string said = describe_crossings("tokens", curve({.10, .05, -.005}), crossings);
  EXPECT_NE(said.find("to beyond the sweep"), std::string::npos) << said;
  EXPECT_NE(said.find("not shown"), std::string::npos) << said;
}

TEST(Crossing, ThereIsNoneWhereOneArmIsAlwaysBetter) {
  EXPECT_TRUE(find_crossings(curve({.10, .05, .01})).empty());
  const std::string said = describe_crossings("tokens", curve({.10, .05, .01}), {});
  EXPECT_NE(said.find("do not cross over tokens: the estimate of A is the faster one in every cell"), std::string::npos) << said;
  EXPECT_NE(describe_crossings("tokens", curve({-.1, -.2}), {}).find("estimate of B"), std::string::npos);
  EXPECT_TRUE(find_crossings({}).empty());
  EXPECT_TRUE(find_crossings(curve({.1})).empty());
}

// Wobbling about nothing is not four crossings: within the noise of one another they are one, or none.
TEST(Crossing, NoiseAboutZeroIsNotManyCrossings) {
  EXPECT_EQ(find_crossings(curve({.10, .002, -.002, .003, -.10})).size(), 1U);
  EXPECT_TRUE(find_crossings(curve({.10, .002, -.002, .003, .10})).empty());
  const std::string said = describe_crossings("tokens", curve({.10, .002, -.002, .003, .10}), {});
  EXPECT_NE(said.find("touch"), std::string::npos) << said;
  const std::vector<Crossing> all_noise = find_crossings(curve({.002, -.003, .002, -.001}));
  ASSERT_EQ(all_noise.size(), 1U);
  EXPECT_FALSE(all_noise[0].low || all_noise[0].high);
}

TEST(Crossing, SeveralAreNamedEach) {
  const std::vector<Crossing> crossings = find_crossings(curve({.2, -.2, .2}));
  ASSERT_EQ(crossings.size(), 2U);
  EXPECT_TRUE(crossings[0].shown && crossings[1].shown);
  EXPECT_TRUE(crossings[0].b_wins_above);
  EXPECT_FALSE(crossings[1].b_wins_above);
  EXPECT_NE(describe_crossings("tokens", curve({.2, -.2, .2}), crossings).find("cross 2 times"), std::string::npos);
}

TEST(Crossing, StandsExactZerosAndNoSpread) {
  const std::vector<Crossing> at_a_point = find_crossings(curve({.1, 0, -.1}, 0));
  ASSERT_EQ(at_a_point.size(), 1U);
  EXPECT_NEAR(at_a_point[0].at, 128, 1e-9);
  EXPECT_NEAR(*at_a_point[0].low, 128, 1e-6);
  EXPECT_NEAR(*at_a_point[0].high, 128, 1e-6);
  const std::vector<Crossing> between = find_crossings(curve({.1, -.1}, 0));
  ASSERT_EQ(between.size(), 1U);
  EXPECT_NEAR(*between[0].low, between[0].at, 1e-6);
  EXPECT_NEAR(*between[0].high, between[0].at, 1e-6);
  EXPECT_TRUE(find_crossings(curve({0, 0, 0})).empty());
  EXPECT_TRUE(find_crossings(curve({0, .1, 0})).empty());
  std::vector<CurvePoint> without = curve({.1, -.1});
  without[0].standard_error.reset();
  ASSERT_EQ(find_crossings(without).size(), 1U);
  EXPECT_FALSE(find_crossings(without)[0].low);
  EXPECT_EQ(describe_crossings("tokens", without, find_crossings(without)).find("interval"), std::string::npos);
  EXPECT_THROW(find_crossings({{0, .1, .1, 6}, {1, .1, .1, 6}}), std::invalid_argument);
  EXPECT_THROW(find_crossings({{1, std::numeric_limits<double>::quiet_NaN(), .1, 6}}), std::invalid_argument);
}

// A line known exactly, measured with noise: the interval must hold the true crossing in 95 of 100 cases (2,000 trials: standard
// error 0.5 %). The spread is taken as estimated with 6 degrees of freedom.
TEST(Crossing, IntervalCoversTheTruth) {
  std::mt19937_64 random(3);
  std::normal_distribution<double> normal(0, 1);
  std::chi_squared_distribution<double> chi(6);
  int covered = 0, trials = 0;
  for (int trial = 0; trial < 2000; ++trial) {
    std::vector<CurvePoint> points;
    for (int i = 0; i < 6; ++i) {
      const double truth = 0.06 - 0.025 * i, sigma = 0.012;  // crosses at i = 2.4
      points.push_back({std::exp2(i), truth + sigma * normal(random), sigma * std::sqrt(chi(random) / 6), 6});
    }
    const double truth = std::exp2(2.4);
    bool inside = false;
    for (const Crossing& crossing : find_crossings(points))
      inside = inside || (crossing.low.value_or(0) <= truth && truth <= crossing.high.value_or(1e9));
    covered += inside ? 1 : 0, ++trials;
  }
  EXPECT_GT(covered, 0.935 * trials);
  EXPECT_LT(covered, 0.98 * trials);
}

nlohmann::json sweep_scenario() {
  nlohmann::json scenario = scenario_json();
  scenario["sweep"] = {{"/workload/cooldown_s", {4, 1, 2, 8}}};
  return scenario;
}

SimulatedProgram crossing_program() {
  SimulatedProgram program;
  program.noise_ln = 0.003;
  program.alter = [](const SampleRequest& request, Sample& sample) {
    const double axis[] = {4, 1, 2, 8};
    if (request.arm == 'B') sample.metrics["wall_s"] *= std::exp(0.05 * (1.5 - std::log2(axis[request.cell % 4])));
  };
  return program;
}

TEST(SweepCrossing, IsInTheVerdict) {
  const Verdict verdict = judge_simulated(sweep_scenario(), crossing_program());
  ASSERT_EQ(verdict.crossings.size(), 1U);
  EXPECT_EQ(verdict.crossings[0].axis, "cooldown_s");
  ASSERT_EQ(verdict.crossings[0].crossings.size(), 1U);
  const Crossing& crossing = verdict.crossings[0].crossings[0];
  EXPECT_NEAR(crossing.at, std::exp2(1.5), 0.2);
  EXPECT_LT(*crossing.low, std::exp2(1.5));
  EXPECT_GT(*crossing.high, std::exp2(1.5));
  EXPECT_TRUE(crossing.b_wins_above);
  EXPECT_TRUE(verdict.crossings[0].sentence.starts_with("B becomes the faster one at cooldown_s = 2.")) << verdict.crossings[0].sentence;
}

TEST(SweepCrossing, IsOneForEachOfTheOtherSettings) {
  nlohmann::json scenario = sweep_scenario();
  scenario["sweep"]["/arms/*/workload/env/X"] = {"a", "b", "c"};
  const Verdict verdict = judge_simulated(scenario, crossing_program());
  ASSERT_EQ(verdict.crossings.size(), 3U);
  EXPECT_EQ(verdict.crossings[1].curve, "X=b");
  for (const CurveCrossings& curve : verdict.crossings) EXPECT_EQ(curve.crossings.size(), 1U) << curve.sentence;
}

TEST(SweepCrossing, ReadsNumbersThatStandInText) {
  nlohmann::json scenario = sweep_scenario();
  scenario["sweep"] = {{"/workload/env/N", {"4", "1", "2", "8"}}};
  const Verdict verdict = judge_simulated(scenario, crossing_program());
  ASSERT_EQ(verdict.crossings.size(), 1U);
  EXPECT_NEAR(verdict.crossings[0].crossings.at(0).at, std::exp2(1.5), 0.2);
  scenario["sweep"] = {{"/workload/env/N", {"4", "1k", "2", "8"}}};
  EXPECT_TRUE(judge_simulated(scenario, crossing_program()).crossings.empty());
}

TEST(SweepCrossing, NeedsOneFieldOfPositiveNumbers) {
  nlohmann::json scenario = sweep_scenario();
  scenario["sweep"]["/workload/priority"] = {1, 2};
  EXPECT_TRUE(judge_simulated(scenario, crossing_program()).crossings.empty()) << "two numeric fields";
  scenario["sweep"] = {{"/workload/cooldown_s", {0, 1}}};
  EXPECT_TRUE(judge_simulated(scenario, crossing_program()).crossings.empty()) << "0 has no logarithm";
  scenario.erase("sweep");
  EXPECT_TRUE(judge_simulated(scenario, crossing_program()).crossings.empty());
}

TEST(SweepCrossing, LeavesInvalidCellsOut) {
  SimulatedProgram program = crossing_program();
  const auto shift = program.alter;
  program.alter = [shift](const SampleRequest& request, Sample& sample) {
    shift(request, sample);
    if (request.cell == 1 && request.arm == 'B') sample.output_hash = "another", sample.metrics["wall_s"] *= 0.1;
  };
  const Verdict verdict = judge_simulated(sweep_scenario(), program);
  EXPECT_EQ(verdict.word, Word::kInvalid);
  ASSERT_EQ(verdict.crossings.size(), 1U);
  ASSERT_EQ(verdict.crossings[0].crossings.size(), 1U) << "a cell of another sign that does not count";
  EXPECT_NEAR(verdict.crossings[0].crossings[0].at, std::exp2(1.5), 0.2);
}

}  // namespace
}  // namespace crossover
