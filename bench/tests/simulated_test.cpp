// Each shape of noise has the moments that it claims: without that a calibration says nothing.
#include "bench/targets/simulated.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <stdexcept>

#include "bench/calibrate/calibrate.h"
#include "bench/runner.h"
#include "bench/targets/external.h"
#include "bench/tests/simulation.h"
#include "engine/tests/temp_folder.h"

namespace crossover {
namespace {

constexpr double kSigma = 0.01;
constexpr int kDraws = 20000;

SimulatedProgram shaped(const std::function<void(SimulatedProgram&)>& change) {
  SimulatedProgram program;
  program.noise_ln = kSigma;
  change(program);
  return program;
}

// In sigma.
std::vector<double> draws(const SimulatedProgram& program, int count = kDraws) {
  SimulatedNoise noise(program);
  std::vector<double> values;
  for (int i = 0; i < count; ++i) values.push_back(noise.at(i).time_ln / kSigma);
  return values;
}

double mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

double covariance(const std::vector<double>& values, std::size_t lag) {
  const double m = mean(values);
  double sum = 0;
  for (std::size_t i = lag; i < values.size(); ++i) sum += (values[i] - m) * (values[i - lag] - m);
  return sum / static_cast<double>(values.size() - lag);
}

double sd(const std::vector<double>& values) { return std::sqrt(covariance(values, 0)); }
double correlation(const std::vector<double>& values, std::size_t lag) { return covariance(values, lag) / covariance(values, 0); }

double share_beyond(const std::vector<double>& values, double limit) {
  return static_cast<double>(std::count_if(values.begin(), values.end(), [limit](double x) { return std::abs(x) > limit; })) /
         static_cast<double>(values.size());
}

TEST(SimulatedNoise, WhiteIsNormalAndIndependent) {
  const std::vector<double> values = draws({});
  EXPECT_NEAR(mean(values), 0, 0.03);
  EXPECT_NEAR(sd(values), 1, 0.02);
  EXPECT_NEAR(correlation(values, 1), 0, 0.03);
  EXPECT_NEAR(share_beyond(values, 3), 0.0027, 0.0015);
}

TEST(SimulatedNoise, HeavyTailsHaveTheSameSpreadAndMoreFarOut) {
  const std::vector<double> values = draws(shaped([](SimulatedProgram& p) { p.tail_df = 3; }));
  EXPECT_NEAR(mean(values), 0, 0.04);
  EXPECT_NEAR(sd(values), 1, 0.15);  // the fourth moment of t with 3 degrees of freedom is infinite
  EXPECT_NEAR(share_beyond(values, 3), 0.0138, 0.003);  // P(|t3| > 3 sqrt(3))
  EXPECT_NEAR(correlation(values, 1), 0, 0.03);
}

TEST(SimulatedNoise, CorrelationDecaysGeometrically) {
  const std::vector<double> values = draws(shaped([](SimulatedProgram& p) { p.correlation = 0.7; }));
  EXPECT_NEAR(sd(values), 1, 0.05);
  EXPECT_NEAR(correlation(values, 1), 0.70, 0.03);
  EXPECT_NEAR(correlation(values, 2), 0.49, 0.04);
  // From the first sample on: many short series, so that a start at 0 would show.
  std::vector<double> firsts;
  for (std::uint64_t seed = 1; seed <= 4000; ++seed)
    firsts.push_back(draws(shaped([seed](SimulatedProgram& p) { p.correlation = 0.7, p.seed = seed; }), 1)[0]);
  EXPECT_NEAR(sd(firsts), 1, 0.05);
}

TEST(SimulatedNoise, ClocksHaveTwoStates) {
  const std::vector<double> independent = draws(shaped([](SimulatedProgram& p) { p.slow_clock_ln = 50 * kSigma, p.slow_clock_share = 0.3; }));
  EXPECT_NEAR(share_beyond(independent, 25), 0.3, 0.015);
  EXPECT_NEAR(correlation(independent, 1), 0, 0.03);
  const std::vector<double> sticky =
      draws(shaped([](SimulatedProgram& p) { p.slow_clock_ln = 50 * kSigma, p.slow_clock_share = 0.3, p.clock_stays = 0.9; }));
  EXPECT_NEAR(share_beyond(sticky, 25), 0.3, 0.04);
  EXPECT_NEAR(correlation(sticky, 1), 0.9, 0.02);
}

TEST(SimulatedNoise, IsAFunctionOfSeedAndPosition) {
  SimulatedNoise forward({}), random_access({});
  const double fifth = random_access.at(5).time_ln, second = random_access.at(2).time_ln;
  for (int i = 0; i < 2; ++i) forward.at(i);
  EXPECT_EQ(forward.at(2).time_ln, second);
  EXPECT_EQ(forward.at(5).time_ln, fifth);
  EXPECT_NE(SimulatedNoise(shaped([](SimulatedProgram& p) { p.seed = 2; })).at(5).time_ln, fifth);
}

TEST(SimulatedNoise, RefusesParametersThatMeanNothing) {
  const auto refuses = [](const std::function<void(SimulatedProgram&)>& change) {
    EXPECT_THROW(SimulatedNoise{shaped(change)}, std::invalid_argument);
  };
  refuses([](SimulatedProgram& p) { p.tail_df = 2; });
  refuses([](SimulatedProgram& p) { p.correlation = 1; });
  refuses([](SimulatedProgram& p) { p.slow_clock_share = 1.5; });
  refuses([](SimulatedProgram& p) { p.clock_stays = -0.1; });
  refuses([](SimulatedProgram& p) { p.warm_up_samples = 0; });
  EXPECT_THROW(SimulatedNoise({}).at(-1), std::invalid_argument);
}

double ln_time(const SimulatedProgram& program, char arm, int position, bool control = false) {
  SampleRequest request;
  request.arm = arm, request.position = position, request.control = control;
  return std::log(SimulatedTarget(program).take(request).metrics.at("wall_s"));
}

TEST(SimulatedProgram, AddsItsTrendsAndEffectsExactly) {
  const SimulatedProgram plain;
  SimulatedProgram program;
  program.effect_ln = 0.1, program.drift_ln = 0.001, program.warm_up_ln = 0.03, program.warm_up_samples = 4, program.second_ln = 0.02;
  const auto added = [&](char arm, int position, bool control = false) {
    return ln_time(program, arm, position, control) - ln_time(plain, 'A', position);
  };
  EXPECT_NEAR(added('A', 0), 0.03, 1e-12);
  EXPECT_NEAR(added('B', 0), 0.13, 1e-12);
  EXPECT_NEAR(added('A', 5), 0.005 + 0.03 * std::exp(-1.25) + 0.02, 1e-12);
  EXPECT_NEAR(added('B', 8), 0.1 + 0.008 + 0.03 * std::exp(-2.0), 1e-12);
  EXPECT_NEAR(added('A', 17, true), 0.017 + 0.03 * std::exp(-4.25), 1e-12) << "the control sample is in no pair";
}

// The spread of estimates that the population's standard error foretells, for every shape; with 2,000 experiments it is known to 1.6 %.
TEST(SimulatedProgram, PopulationStandardErrorIsTheSpreadOfTheEstimates) {
  for (const NoiseShape& shape : noise_shapes(8)) {
    Scenario scenario = scenario_from(scenario_json());
    SimulatedProgram program = shape.program;
    std::vector<double> effects;
    for (std::uint64_t seed = 1; seed <= 2000; ++seed) {
      scenario.seed = 1000 + seed, program.seed = seed;
      std::vector<PairDifference> pairs(8);
      for (const Sample& sample : simulate(make_plan(scenario), program)) {
        if (sample.control) continue;
        PairDifference& pair = pairs[static_cast<std::size_t>(sample.pair)];
        pair.d += (sample.arm == 'B' ? 1 : -1) * std::log(sample.metrics.at("wall_s"));
        if (sample.position % 2 == 0) pair.a_first = sample.arm == 'A';
      }
      effects.push_back(crossover_t(pairs).effect);
    }
    const double expected = population_standard_error(shape.program, 8);
    EXPECT_NEAR(mean(effects), 0, 4 * expected / std::sqrt(2000.0)) << shape.name;
    EXPECT_NEAR(sd(effects) / expected, 1, shape.program.tail_df ? 0.12 : 0.06) << shape.name;
  }
}

class SimulatedRun : public test::FolderTest {
 protected:
  SimulatedRun() {
    options_.out = folder_ / "out", options_.quiet = true;
    options_.ambient.kept = {"PATH=/usr/bin:/bin"};
  }

  RunOptions options_;
};

// What `calibrate` leaves out of a run, journal and files, changes no digit of the verdict.
TEST_F(SimulatedRun, RunnerAndCalibrationSayTheSame) {
  const Scenario scenario = scenario_from(scenario_json());
  SimulatedProgram program = noise_shape("all-at-once", 8).program;
  program.effect_ln = 0.02, program.seed = 7;
  SimulatedTarget target(program);
  const RunOutcome outcome = run_scenario(scenario, target, options_);
  const Verdict verdict = judge(scenario, simulate(make_plan(scenario), program));
  EXPECT_EQ(outcome.verdict.reason, verdict.reason);
  EXPECT_EQ(outcome.verdict.cells[0].metrics.at("wall_s").estimate->effect, verdict.cells[0].metrics.at("wall_s").estimate->effect);
}

// The same program as seventeen processes, read by `external` from what they print.
TEST_F(SimulatedRun, ProcessesPlayTheSameProgram) {
  nlohmann::json json = scenario_json();
  json["workload"]["command"] = {CROSSOVER_PROGRAM, "simulated-sample", "--shape", "all-at-once", "--seed", "7", "--arm", "{arm}",
                                 "--sample", "{sample}", "--effect-percent", "-4"};
  json["workload"]["metrics"] = {{"t_s", {{"regex", "took ([0-9.e-]+) s"}}}, {"control_s", {{"regex", "control ([0-9.e-]+) s"}}}};
  json["workload"]["output"] = {{"regex", "answer (.*)"}};
  json["plan"]["primary"] = "t_s";
  const Scenario scenario = scenario_from(json);
  const std::unique_ptr<Target> target = make_external_target();
  const RunOutcome outcome = run_scenario(scenario, *target, options_);
  SimulatedProgram program = noise_shape("all-at-once", 8).program;
  program.effect_ln = ln_of_percent(-4), program.seed = 7;
  const std::vector<Sample> expected = simulate(make_plan(scenario), program);
  ASSERT_EQ(outcome.samples.size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(outcome.samples[i].metrics.at("t_s"), expected[i].metrics.at("wall_s")) << i;
    EXPECT_EQ(outcome.samples[i].metrics.at("control_s"), expected[i].metrics.at("control_s")) << i;
  }
}

}  // namespace
}  // namespace crossover
