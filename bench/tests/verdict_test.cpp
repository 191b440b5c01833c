#include "bench/judge/verdict.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "bench/tests/simulation.h"

namespace crossover {
namespace {

using nlohmann::json;

double share_of_verdicts(json scenario, SimulatedProgram program, int runs) {
  int verdicts = 0;
  for (int run = 1; run <= runs; ++run) {
    scenario["plan"]["seed"] = run;
    program.seed = static_cast<std::uint64_t>(run);
    const Word word = judge_simulated(scenario, program).word;
    verdicts += word == Word::kFaster || word == Word::kSlower ? 1 : 0;
  }
  return static_cast<double>(verdicts) / runs;
}

// A threshold of 0 leaves the interval alone to prevent false verdicts, so the 5 % of the test must show.
TEST(FalseVerdicts, AreFivePercentWithoutAnEffect) {
  json scenario = scenario_json();
  scenario["plan"]["threshold_percent"] = 0;
  const double share = share_of_verdicts(scenario, {}, 2000);
  EXPECT_GT(share, 0.03);
  EXPECT_LT(share, 0.07);
}

TEST(FalseVerdicts, DoNotRiseUnderDriftOrAnOrderEffect) {
  json scenario = scenario_json();
  scenario["plan"]["threshold_percent"] = 0;
  SimulatedProgram drifting;
  drifting.drift_ln = 3 * drifting.noise_ln / 16;  // three sigma over the plan
  EXPECT_LT(share_of_verdicts(scenario, drifting, 1500), 0.065);
  SimulatedProgram ordered;
  ordered.second_ln = 3 * ordered.noise_ln;
  EXPECT_LT(share_of_verdicts(scenario, ordered, 1500), 0.065);
}

TEST(PlantedEffects, AreFoundInSizeAndDirection) {
  SimulatedProgram program;
  program.effect_ln = -0.03;
  EXPECT_GT(share_of_verdicts(scenario_json(), program, 300), 0.95);
  const Verdict faster = judge_simulated(scenario_json(), program);
  EXPECT_EQ(faster.word, Word::kFaster);
  EXPECT_NEAR(faster.cells[0].metrics.at("wall_s").estimate->effect, -0.03, 0.02);
  program.effect_ln = 0.05;
  EXPECT_EQ(judge_simulated(scenario_json(), program).word, Word::kSlower);
}

TEST(PlantedEffects, SurviveAStrongOrderEffectWhichIsReported) {
  SimulatedProgram program;
  program.effect_ln = -0.04, program.second_ln = 0.20;
  const Verdict verdict = judge_simulated(scenario_json(), program);
  EXPECT_EQ(verdict.word, Word::kFaster);
  EXPECT_NEAR(verdict.cells[0].metrics.at("wall_s").estimate->order_effect, 0.20, 0.02);
}

TEST(Words, RatesCountUpsideDown) {
  json scenario = scenario_json();
  scenario["workload"]["metrics"] = {{"tokens_per_s", {{"regex", "x"}}}};
  scenario["plan"]["primary"] = "tokens_per_s";
  SimulatedProgram program;
  program.alter = [](const SampleRequest& request, Sample& sample) {
    sample.metrics["tokens_per_s"] = (request.arm == 'B' ? 110 : 100) / sample.metrics["wall_s"];
  };
  const Verdict verdict = judge_simulated(scenario, program);
  EXPECT_EQ(verdict.word, Word::kFaster);
  EXPECT_LT(verdict.cells[0].metrics.at("tokens_per_s").estimate->effect, 0);
}

TEST(Words, EquivalentNeedsTheIntervalInsideTheThreshold) {
  SimulatedProgram quiet;
  quiet.noise_ln = 0.002;
  EXPECT_EQ(judge_simulated(scenario_json(), quiet).word, Word::kEquivalent);
  SimulatedProgram noisy;
  noisy.noise_ln = 0.05;
  const Verdict open = judge_simulated(scenario_json(), noisy);
  EXPECT_EQ(open.word, Word::kInconclusive);
  EXPECT_NE(open.reason.find("smallest difference that could be found"), std::string::npos) << open.reason;
  EXPECT_NE(open.reason.find("noise floor of this machine is not measured"), std::string::npos) << open.reason;
}

TEST(Words, ADifferenceBelowTheThresholdIsNoVerdict) {
  json scenario = scenario_json();
  scenario["plan"]["threshold_percent"] = 10;
  SimulatedProgram program;
  program.effect_ln = -0.03, program.noise_ln = 0.002;
  EXPECT_EQ(judge_simulated(scenario, program).word, Word::kEquivalent);
}

TEST(Words, ANoiseFloorRaisesTheThreshold) {
  SimulatedProgram program;
  program.effect_ln = -0.03, program.noise_ln = 0.002;
  const Scenario scenario = scenario_from(scenario_json());
  const auto samples = simulate(scenario, program);
  EXPECT_EQ(judge(scenario, samples).word, Word::kFaster);
  const NoiseFloor floor{8 * 0.02 * 0.02, 0.015 * 0.015, 10, 4};  // 1.96 x 2.5 % at 8 pairs
  const Verdict within = judge(scenario, samples, {{{{"wall_s", floor}}, "10 A/A comparisons of 4 pairs on 2026-11-21"}});
  EXPECT_EQ(within.word, Word::kEquivalent);
  EXPECT_NEAR(*within.noise_floor, 1.96 * 0.025, 1e-12);
  EXPECT_DOUBLE_EQ(within.tau, *within.noise_floor);
  EXPECT_NE(within.reason.find("noise floor 5.02 % (10 A/A comparisons of 4 pairs on 2026-11-21)"), std::string::npos) << within.reason;
}

TEST(Words, AMetricHasItsOwnNoiseFloor) {
  SimulatedProgram program;
  program.effect_ln = -0.03, program.noise_ln = 0.002;
  program.alter = [](const SampleRequest&, Sample& sample) { sample.metrics["other_s"] = sample.metrics["wall_s"]; };
  const Scenario scenario = scenario_from(scenario_json());
  const CellNoise noise{{{"other_s", {0, 1, 10, 4}}}, "measured"};
  const Verdict verdict = judge(scenario, simulate(scenario, program), {noise});
  EXPECT_EQ(verdict.cells[0].metrics.at("wall_s").word, "FASTER");
  EXPECT_EQ(verdict.cells[0].metrics.at("other_s").word, "EQUIVALENT");
  EXPECT_FALSE(verdict.noise_floor) << "of the primary";
  EXPECT_EQ(verdict.noise_floor_from, "not measured");
}

// A counter of four tenths cannot tell what lies between two of them.
TEST(Words, EqualDifferencesAreFlagged) {
  SimulatedProgram program;
  program.alter = [](const SampleRequest& request, Sample& sample) { sample.metrics["wall_s"] = request.arm == 'A' ? 0.4 : 0.5; };
  const Verdict verdict = judge_simulated(scenario_json(), program);
  EXPECT_EQ(verdict.word, Word::kSlower);
  const std::vector<std::string>& flags = verdict.cells[0].flags;
  EXPECT_EQ(std::count(flags.begin(), flags.end(), "coarse?"), 1);
  const std::vector<std::string> usual = judge_simulated(scenario_json(), {}).cells[0].flags;
  EXPECT_EQ(std::count(usual.begin(), usual.end(), "coarse?"), 0);
}

// A sweep tests every cell, so each pays: what one cell alone would show, one of twenty does not, and the remedy knows it.
TEST(Words, SayWhenOtherCellsHoldAWordBack) {
  json scenario = scenario_json();
  scenario["plan"]["threshold_percent"] = 0;
  json& cells = scenario["sweep"]["/workload/cooldown_s"];
  for (int i = 0; i < 20; ++i) cells.push_back(i);
  int held_back = 0;
  for (int run = 1; run <= 5; ++run) {
    SimulatedProgram program;
    program.seed = static_cast<std::uint64_t>(run), program.effect_ln = 0.012;
    for (const CellAnalysis& cell : judge_simulated(scenario, program).cells) {
      const MetricAnalysis& primary = cell.metrics.at("wall_s");
      if (*primary.estimate->p_value >= 0.05 || *primary.p_adjusted < 0.05) continue;
      ++held_back;
      EXPECT_EQ(cell.word, Word::kInconclusive);
      EXPECT_NE(cell.reason.find("when adjusted for 20 cells"), std::string::npos) << cell.reason;
    }
  }
  EXPECT_GT(held_back, 5);
}

json with_control() {
  json scenario = scenario_json();
  scenario["expect"]["controls"] = {"control_s"};
  return scenario;
}

// A phase may take no time that a clock can see; it is measured all the same.
TEST(Controls, OfZeroSecondsAreMeasured) {
  SimulatedProgram program;
  program.alter = [](const SampleRequest& request, Sample& sample) {
    sample.metrics["control_s"] = request.position % 3 == 0 ? 0 : 1e-6 * (1 + request.position % 5);
  };
  const Verdict some = judge_simulated(with_control(), program);
  EXPECT_NE(some.word, Word::kInvalid) << some.reason;
  EXPECT_FALSE(some.cells[0].controls[0].shift);
  EXPECT_TRUE(some.cells[0].controls[0].shift_s);
  program.alter = [](const SampleRequest&, Sample& sample) { sample.metrics["control_s"] = 0; };
  EXPECT_NE(judge_simulated(with_control(), program).word, Word::kInvalid);
  program.alter = [](const SampleRequest& request, Sample& sample) { sample.metrics["control_s"] = request.arm == 'A' ? 0 : 0.3; };
  const Verdict appeared = judge_simulated(with_control(), program);
  EXPECT_EQ(appeared.word, Word::kInvalid);
  EXPECT_NE(appeared.reason.find("moved by +0.3 s"), std::string::npos) << appeared.reason;
  program.alter = [](const SampleRequest&, Sample& sample) { sample.metrics.erase("control_s"); };
  EXPECT_NE(judge_simulated(with_control(), program).reason.find("was not measured"), std::string::npos);
}

TEST(Controls, MayMoveWithinTheirNoiseFloor) {
  SimulatedProgram program;
  program.noise_ln = 0.001;
  program.alter = [](const SampleRequest& request, Sample& sample) {
    if (request.arm == 'B') sample.metrics["control_s"] *= 1.2;  // 0.02 s of 1 s
  };
  const Scenario scenario = scenario_from(with_control());
  const std::vector<Sample> samples = simulate(scenario, program);
  EXPECT_EQ(judge(scenario, samples).word, Word::kInvalid);
  EXPECT_NE(judge(scenario, samples, {{{{"control_s", {0, 0.0225, 10, 4}}}, "measured"}}).word, Word::kInvalid) << "1.96 x 15 %";
}

TEST(Words, TwoPairsGiveNone) {
  json scenario = scenario_json();
  scenario["plan"]["pairs"] = 2;
  SimulatedProgram program;
  program.effect_ln = -0.5;
  const Verdict verdict = judge_simulated(scenario, program);
  EXPECT_EQ(verdict.word, Word::kInconclusive);
  EXPECT_FALSE(verdict.cells[0].metrics.at("wall_s").estimate->interval.has_value());
}

TEST(Words, TheWorstCellSpeaksForTheRun) {
  json scenario = scenario_json();
  scenario["sweep"] = {{"/workload/priority", {0, 1, 2}}};
  SimulatedProgram program;
  program.noise_ln = 0.002;
  program.alter = [](const SampleRequest& request, Sample& sample) {
    if (request.arm == 'B') sample.metrics["wall_s"] *= request.cell == 0 ? 0.5 : request.cell == 1 ? 1.0 : 2.0;
  };
  const Verdict verdict = judge_simulated(scenario, program);
  EXPECT_EQ(verdict.cells[0].word, Word::kFaster);
  EXPECT_EQ(verdict.cells[1].word, Word::kEquivalent);
  EXPECT_EQ(verdict.cells[2].word, Word::kSlower);
  EXPECT_EQ(verdict.word, Word::kSlower);
  EXPECT_TRUE(verdict.reason.starts_with("priority=2: ")) << verdict.reason;
  EXPECT_EQ(word_exit_code(verdict.word), 1);
}

TEST(Words, ManyCellsWithoutANumberOfPairsAreExploratory) {
  json scenario = scenario_json();
  scenario["plan"].erase("pairs");
  scenario["sweep"] = {{"/workload/priority", {0, 1, 2, 3, 4, 5, 6, 7, 8}}};
  SimulatedProgram program;
  program.effect_ln = -0.5;
  const Verdict verdict = judge_simulated(scenario, program);
  EXPECT_EQ(verdict.word, Word::kInconclusive);
  EXPECT_NE(verdict.reason.find("exploratory"), std::string::npos);
}

// With 20 cells and no effect, unadjusted tests would give a false verdict in 64 % of the runs.
TEST(Words, HolmKeepsTheFamilyAtFivePercent) {
  json scenario = scenario_json();
  scenario["plan"]["threshold_percent"] = 0;
  scenario["plan"]["pairs"] = 8;
  json& cells = scenario["sweep"]["/workload/cooldown_s"];
  for (int i = 0; i < 20; ++i) cells.push_back(i);
  int runs_with_false_words = 0;
  for (int run = 1; run <= 60; ++run) {
    SimulatedProgram program;
    program.seed = static_cast<std::uint64_t>(run);
    scenario["plan"]["seed"] = run;
    const Verdict verdict = judge_simulated(scenario, program);
    bool wrong = false;
    for (const CellAnalysis& cell : verdict.cells) wrong = wrong || cell.word == Word::kFaster || cell.word == Word::kSlower;
    runs_with_false_words += wrong ? 1 : 0;
  }
  EXPECT_LT(runs_with_false_words, 12);
}

}  // namespace
}  // namespace crossover
