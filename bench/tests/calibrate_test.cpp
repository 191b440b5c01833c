#include "bench/calibrate/calibrate.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <stdexcept>

#include "bench/calibrate/calibrate_table.h"
#include "bench/calibrate/usual_habits.h"

namespace crossover {
namespace {

CalibrationOptions options(int experiments, std::vector<std::string> shapes) {
  CalibrationOptions out;
  out.experiments = experiments, out.shapes = std::move(shapes), out.threads = 2;
  return out;
}

const CalibrationRate& rate(const std::vector<CalibrationRate>& rates, const std::string& shape, const std::string& measure) {
  for (const CalibrationRate& candidate : rates)
    if (candidate.shape == shape && candidate.measure == measure) return candidate;
  throw std::runtime_error("no rate " + measure + " of " + shape);
}

std::string refusal(const CalibrationOptions& asked) {
  try {
    calibrate(asked);
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "no refusal";
}

// 682 of 925: the example of R's binom.test (Conover 1971, p. 97), whose exact interval is 0.7076683 to 0.7654066. 0 of 10 and
// 10 of 10: 1 - 0.025^(1/10) by hand.
TEST(ExactInterval, EqualsPublishedOnes) {
  const Interval mendel = exact_interval({682, 925});
  EXPECT_NEAR(mendel.low, 0.7076683, 5e-8);
  EXPECT_NEAR(mendel.high, 0.7654066, 5e-8);
  EXPECT_EQ(exact_interval({0, 10}).low, 0);
  EXPECT_NEAR(exact_interval({0, 10}).high, 0.30849710781876083, 1e-9);
  EXPECT_NEAR(exact_interval({10, 10}).low, 0.6915028921812392, 1e-9);
  EXPECT_EQ(exact_interval({10, 10}).high, 1);
  EXPECT_THROW(exact_interval({1, 0}), std::invalid_argument);
  EXPECT_THROW(exact_interval({5, 4}), std::invalid_argument);
  EXPECT_THROW(exact_interval({-1, 4}), std::invalid_argument);
}

TEST(Criteria, NeedManyExperimentsToFailNarrowly) {
  const auto holds = [](std::int64_t count, std::int64_t of, double limit, bool at_most) {
    return CalibrationRate{"", "", "", {count, of}, limit, at_most}.holds();
  };
  EXPECT_EQ(holds(570, 10000, kFalseVerdictLimit, true), Holds::kYes);
  EXPECT_EQ(holds(571, 10000, kFalseVerdictLimit, true), Holds::kNo);
  EXPECT_EQ(holds(26, 400, kFalseVerdictLimit, true), Holds::kOpen);   // 6.5 %: 4.3 to 9.4
  EXPECT_EQ(holds(40, 400, kFalseVerdictLimit, true), Holds::kNo);     // 10 %: 7.2 to 13.4
  EXPECT_EQ(holds(9400, 10000, kCoverageLimit, false), Holds::kYes);
  EXPECT_EQ(holds(9399, 10000, kCoverageLimit, false), Holds::kNo);
  EXPECT_EQ(holds(92, 100, kCoverageLimit, false), Holds::kOpen);
  EXPECT_EQ(holds(1, 100, 0.0, true), Holds::kNo) << "never is never";
  EXPECT_EQ((CalibrationRate{"", "", "", {99, 100}, {}, true}.holds()), Holds::kYes) << "no limit, no criterion";
}

TEST(Calibrate, CountsWhatAThousandExperimentsLetSee) {
  const Calibration found = calibrate(options(600, {"white", "ar1", "order", "equivalence"}));
  for (const char* shape : {"white", "ar1", "order"}) {
    const double wrong = rate(found.rates, shape, "false_verdict").counted.share();
    EXPECT_GT(wrong, 0.02) << shape << ": the 5 % of a threshold of 0 must show";
    EXPECT_LT(wrong, 0.085) << shape;
    EXPECT_GT(rate(found.rates, shape, "covered").counted.share(), 0.915) << shape;
    EXPECT_GT(rate(found.rates, shape, "covered_planted").counted.share(), 0.915) << shape;
    EXPECT_GT(rate(found.rates, shape, "found").counted.share(), 0.90) << shape;
    EXPECT_EQ(rate(found.rates, shape, "invalid").counted.count, 0) << shape;
  }
  EXPECT_EQ(rate(found.checks, "order", "order_changed").counted.count, 0);
  EXPECT_GT(rate(found.checks, "order", "order_seen").counted.share(), 0.97);
  EXPECT_GT(rate(found.checks, "equivalence", "equivalent").counted.share(), 0.95);
  EXPECT_LT(rate(found.checks, "equivalence", "false_equivalent").counted.share(), 0.085);
  EXPECT_NE(worst(found.rates), Holds::kNo);
}

TEST(Calibrate, ControlsVoidARunOnlyWhereTheyMoved) {
  const Calibration found = calibrate(options(400, {"control"}));
  EXPECT_TRUE(found.rates.empty());
  EXPECT_LT(rate(found.checks, "control", "false_invalid").counted.share(), 0.02);
  EXPECT_GT(rate(found.checks, "control", "control_moved").counted.share(), 0.95);
}

TEST(Calibrate, SeedsDecideAndThreadsDoNot) {
  CalibrationOptions asked = options(150, {"drift", "heavy-tail"});
  const std::string two = calibration_json(calibrate(asked));
  asked.threads = 1;
  EXPECT_EQ(calibration_json(calibrate(asked)), two);
  asked.shapes = {"heavy-tail"};
  const Calibration alone = calibrate(asked);
  EXPECT_NE(two.find(nlohmann::ordered_json(rate(alone.rates, "heavy-tail", "covered").counted.count).dump()), std::string::npos);
  asked.shapes = {"drift", "heavy-tail"}, asked.seed = 2;
  EXPECT_NE(calibration_json(calibrate(asked)), two);
}

TEST(Calibrate, RefusesWhatItCannotDo) {
  EXPECT_NE(refusal(options(10, {"drifd"})).find("did you mean drift"), std::string::npos);
  EXPECT_NE(refusal(options(0, {})).find("1 or more"), std::string::npos);
  CalibrationOptions odd = options(10, {"white"});
  odd.pairs = 7;
  EXPECT_NE(refusal(odd).find("odd"), std::string::npos) << refusal(odd);
  odd.pairs = 2;
  EXPECT_NE(refusal(odd).find("4 or more"), std::string::npos);
}

// The simulation can fail. Six samples of A, then six of B, under a drift of three sigma: two runs in three see a difference that is
// not there, and the criterion says so. 4,000 trials: standard error 0.8 %.
TEST(Habits, BlocksUnderDriftFailTheCriterion) {
  SimulatedProgram program = noise_shape("drift", 6).program;
  CalibrationRate rate{"drift", "blocks", "", {0, 4000}, kFalseVerdictLimit, true};
  for (std::uint64_t seed = 1; seed <= 4000; ++seed) {
    program.seed = seed;
    rate.counted.count += habit_sees_difference(Habit::kBlocks, program, 6) ? 1 : 0;
  }
  EXPECT_NEAR(rate.counted.share(), 0.63, 0.03);
  EXPECT_EQ(rate.holds(), Holds::kNo);
}

TEST(Habits, FixedOrderTakesAnOrderEffectForADifference) {
  SimulatedProgram program = noise_shape("order", 8).program;
  EXPECT_TRUE(habit_sees_difference(Habit::kAlternating, program, 8));
  EXPECT_FALSE(habit_sees_difference(Habit::kBlocks, program, 8));
  EXPECT_THROW(habit_sees_difference(Habit::kBlocks, program, 1), std::invalid_argument);
}

TEST(CalibrationTable, HasARowForEachShapeAndSaysWhatFails) {
  CalibrationOptions asked = options(20, {"white", "ar1", "order"});
  const std::string json = calibration_json(calibrate(asked));
  const std::string shapes = calibration_table(json, "shapes");
  EXPECT_NE(shapes.find("| ar1   |"), std::string::npos) << shapes;
  EXPECT_NE(shapes.find("at most 5.7"), std::string::npos);
  EXPECT_NE(shapes.find("- order: white, and the second sample"), std::string::npos);
  EXPECT_NE(calibration_table(json, "checks").find("at most 0 "), std::string::npos);
  EXPECT_NE(calibration_table(json, "habits").find("paired t"), std::string::npos);
  EXPECT_THROW(calibration_table(json, "processes"), std::runtime_error);
  EXPECT_THROW(calibration_table(R"({"schema": "crossover.result/1"})", "shapes"), std::runtime_error);
  nlohmann::json failing = nlohmann::json::parse(json);
  failing["rates"][0]["criterion"] = "fails";
  EXPECT_NE(calibration_table(failing.dump(), "shapes").find(" fails"), std::string::npos);
}

}  // namespace
}  // namespace crossover
