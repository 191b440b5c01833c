// Published constants: Pocock, Biometrika 64 (1977), table 1, nominal levels for alpha = .05; Jennison and Turnbull, Group Sequential
// Methods (2000), table 2.1, the same and for alpha = .01 and .1; Armitage, McPherson and Rowe, J. R. Statist. Soc. A 132 (1969),
// table 2: chance of ever reaching 5 % over repeated looks.
#include "bench/judge/looks.h"

#include <gtest/gtest.h>

#include <cmath>
#include <stdexcept>

#include "bench/tests/simulation.h"

namespace crossover {
namespace {

std::vector<int> equal_steps(int looks) {
  std::vector<int> pairs;
  for (int i = 1; i <= looks; ++i) pairs.push_back(8 * i);
  return pairs;
}

TEST(Looks, LevelsArePococks) {
  const double published[] = {0.05, 0.0294, 0.0221, 0.0182, 0.0158};
  for (int looks = 1; looks <= 5; ++looks) EXPECT_NEAR(look_level(equal_steps(looks)), published[looks - 1], 5.1e-5) << looks;
  EXPECT_NEAR(look_level(equal_steps(10)), 0.0106, 5.1e-5);
}

TEST(Looks, BoundariesAreJennisonAndTurnbulls) {
  const double at_10[] = {1.875, 1.992, 2.067, 2.122}, at_1[] = {2.772, 2.873, 2.939, 2.986};
  for (int looks = 2; looks <= 5; ++looks) {
    EXPECT_NEAR(std::erfc(at_10[looks - 2] / std::sqrt(2.0)), look_level(equal_steps(looks), 0.1), 2e-4) << looks;
    EXPECT_NEAR(std::erfc(at_1[looks - 2] / std::sqrt(2.0)), look_level(equal_steps(looks), 0.01), 2e-5) << looks;
  }
}

TEST(Looks, FivePercentRepeatedIsMore) {
  EXPECT_NEAR(chance_over_looks(0.05, equal_steps(2)), 0.083, 5e-4);
  EXPECT_NEAR(chance_over_looks(0.05, equal_steps(3)), 0.107, 5e-4);
  EXPECT_NEAR(chance_over_looks(0.05, equal_steps(4)), 0.126, 5e-4);
  EXPECT_NEAR(chance_over_looks(0.05, equal_steps(5)), 0.142, 5e-4);
  EXPECT_NEAR(chance_over_looks(0.05, equal_steps(10)), 0.193, 5e-4);
}

TEST(Looks, AreBoundedByOneLookAndBySomeIndependentOnes) {
  for (const double level : {1e-15, 1e-9, 1e-4, 0.02, 0.3, 0.9, 1.0}) {
    const double close = chance_over_looks(level, {1000, 1002}), apart = chance_over_looks(level, {4, 4000});
    EXPECT_GE(close, level) << level;
    EXPECT_LE(close, apart + 1e-12) << level;
    EXPECT_LE(apart, 1 - (1 - level) * (1 - level) + 1e-12) << level;
    EXPECT_EQ(chance_over_looks(level, {8}), level);
  }
  EXPECT_NEAR(chance_over_looks(0.05, {1000, 1002}), 0.05, 0.004);  // nearly one look
  EXPECT_NEAR(chance_over_looks(0.05, {4, 4000}), 0.0975, 0.002);   // nearly two independent ones
}

TEST(Looks, RefuseWhatDoesNotRise) {
  EXPECT_THROW(chance_over_looks(0.05, {}), std::invalid_argument);
  EXPECT_THROW(chance_over_looks(0.05, {8, 8}), std::invalid_argument);
  EXPECT_THROW(chance_over_looks(0.05, {16, 8}), std::invalid_argument);
  EXPECT_THROW(chance_over_looks(0.05, std::vector<int>(11, 8)), std::invalid_argument);
}

// What a run with looks does: judge, and take more pairs only where nothing was decided. Without an effect and at full level 8.4 %
// of such runs end with a false verdict (4,000 runs: standard error 0.35 %).
TEST(Looks, KeepFalseVerdictsAtFivePercent) {
  nlohmann::json json = scenario_json();
  json["plan"] = {{"seed", 1}, {"primary", "wall_s"}, {"threshold_percent", 0}, {"looks", {8, 16}}};
  int false_verdicts = 0, stopped = 0;
  constexpr int kRuns = 4000;
  Scenario scenario = scenario_from(json);
  for (int run = 1; run <= kRuns; ++run) {
    scenario.seed = static_cast<std::uint64_t>(run);
    SimulatedProgram program;
    program.seed = static_cast<std::uint64_t>(run);
    std::vector<Sample> samples = simulate(scenario, program), first;
    for (const Sample& sample : samples)
      if (sample.pair < 8) first.push_back(sample);
    Verdict verdict = judge(scenario, first);
    if (is_decided(verdict)) ++stopped;
    else verdict = judge(scenario, samples);
    false_verdicts += verdict.word == Word::kFaster || verdict.word == Word::kSlower ? 1 : 0;
  }
  EXPECT_GT(false_verdicts, 0.035 * kRuns);
  EXPECT_LT(false_verdicts, 0.057 * kRuns);
  EXPECT_GT(stopped, 0.015 * kRuns);
}

}  // namespace
}  // namespace crossover
