#include "bench/noise/noise_floor.h"

#include <gtest/gtest.h>

#include <cmath>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <random>

#include "bench/json_text.h"
#include "bench/machine/machine_id.h"
#include "bench/noise/noise_run.h"
#include "bench/noise/noise_store.h"
#include "bench/process/interrupt.h"
#include "bench/result.h"
#include "bench/tests/simulation.h"
#include "engine/tests/temp_folder.h"

namespace crossover {
namespace {

using nlohmann::json;

// By hand: effects (mean over AB + mean over BA) / 2 are 2 and 0; deviations within each order are +-1, so both comparisons have
// variance 4 / 2 = 2; w^2 = 2, b^2 = (4 + 0) / 2 - 2 / 4 = 1.5.
TEST(NoiseFloor, SplitsVarianceWithinAndBetween) {
  const NoiseFloor floor = estimate_noise_floor({{{1, true}, {3, true}, {1, false}, {3, false}}, {{-1, true}, {1, true}, {-1, false}, {1, false}}});
  EXPECT_EQ(floor.comparisons, 2);
  EXPECT_EQ(floor.pairs, 4);
  EXPECT_DOUBLE_EQ(floor.within, 2);
  EXPECT_DOUBLE_EQ(floor.between, 1.5);
  EXPECT_DOUBLE_EQ(floor.at(8), 1.96 * std::sqrt(1.5 + 0.25));
}

TEST(NoiseFloor, AnOrderEffectIsNoNoise) {
  const NoiseFloor floor = estimate_noise_floor({{{5, true}, {5, true}, {-5, false}, {-5, false}}});
  EXPECT_DOUBLE_EQ(floor.within, 0);
  EXPECT_DOUBLE_EQ(floor.between, 0);
}

TEST(NoiseFloor, LeavesOutWhatHasNoVariance) {
  EXPECT_EQ(estimate_noise_floor({}).comparisons, 0);
  EXPECT_EQ(estimate_noise_floor({{}, {{1, true}, {2, false}}}).comparisons, 0);
}

// Planted: SD of a pair 2 %, SD between comparisons 1 %. With 400 comparisons both come back, and the floor at n pairs is what 95 %
// of comparisons of n pairs stay within.
TEST(NoiseFloor, FindsPlantedVariances) {
  std::mt19937_64 random(4);
  std::normal_distribution<double> normal(0, 1);
  const auto comparison = [&](int pairs) {
    const double between = 0.01 * normal(random);
    std::vector<PairDifference> found;
    for (int i = 0; i < pairs; ++i) found.push_back({between + 0.02 * normal(random), i % 2 == 0});
    return found;
  };
  std::vector<std::vector<PairDifference>> comparisons;
  for (int i = 0; i < 400; ++i) comparisons.push_back(comparison(4));
  const NoiseFloor floor = estimate_noise_floor(comparisons);
  EXPECT_NEAR(std::sqrt(floor.within), 0.02, 0.001);
  EXPECT_NEAR(std::sqrt(floor.between), 0.01, 0.0015);
  for (const int pairs : {4, 16}) {
    int within = 0;
    for (int i = 0; i < 2000; ++i) within += std::abs(crossover_t(comparison(pairs)).effect) < floor.at(pairs) ? 1 : 0;
    EXPECT_NEAR(within / 2000.0, 0.95, 0.02) << pairs;
  }
}

TEST(AgainstItself, PutsAInBothArms) {
  json scenario = scenario_json();
  scenario["arms"]["A"]["workload"] = {{"env", {{"X", "a"}}}};
  scenario["arms"]["B"]["workload"] = {{"env", {{"X", "b"}}}};
  scenario["sweep"] = {{"/arms/B/workload/env/Y", {"1", "2"}}, {"/arms/A/workload/env/Z", {"1", "2", "3"}}, {"/workload/priority", {0, 1}}};
  scenario["expect"]["differs"] = {"path.kernel"};
  scenario["expect"]["path"] = {{"kernel", "one"}, {"B.kernel", "two"}};
  scenario["plan"]["looks"] = {8, 16}, scenario["plan"]["pairs"] = 16;
  const Scenario asked = scenario_from(scenario);
  const Scenario against = a_against_a(asked, {10, 6}, 3);
  EXPECT_EQ(against.pairs, 6);
  EXPECT_EQ(against.looks, std::vector<int>{6});
  EXPECT_EQ(against.seed, asked.seed + 4);
  ASSERT_EQ(against.cells.size(), 6U) << "a sweep over B alone falls away";
  for (const Cell& cell : against.cells) EXPECT_EQ(cell.a.workload, cell.b.workload);
  EXPECT_TRUE(against.expect.differs.empty());
  EXPECT_EQ(against.expect.path.size(), 1U);
  EXPECT_THROW(a_against_a(asked, {9, 4}, 0), std::invalid_argument);
  EXPECT_THROW(a_against_a(asked, {10, 2}, 0), std::invalid_argument);
}

class NoiseMeasurement : public test::FolderTest {
 protected:
  NoiseMeasurement() {
    options_.out = folder_ / "out", options_.quiet = true;
    options_.say = [this](const std::string& line) { said_ += line + "\n"; };
  }

  NoiseResult measure(SimulatedProgram program, const json& scenario = scenario_json()) {
    SimulatedTarget target(std::move(program));
    return measure_noise(scenario_from(scenario), {}, target, options_);
  }

  RunOptions options_;
  std::string said_;
};

TEST_F(NoiseMeasurement, TakesTenComparisonsAndTellsItsTimeFirst) {
  SimulatedProgram program;
  program.noise_ln = 0;
  program.alter = [random = std::mt19937_64(2), normal = std::normal_distribution<double>(0, 0.01)](const SampleRequest&, Sample& sample) mutable {
    sample.metrics["wall_s"] *= std::exp(normal(random));
  };
  const NoiseResult result = measure(program);
  ASSERT_EQ(result.cells.size(), 1U);
  const NoiseFloor& floor = result.cells[0].noise.metrics.at("wall_s");
  EXPECT_EQ(floor.comparisons, 10);
  EXPECT_EQ(floor.pairs, 4);
  EXPECT_NEAR(std::sqrt(floor.within), 0.01 * std::sqrt(2), 0.005);  // 20 degrees of freedom: SD 0.0022
  EXPECT_TRUE(result.cells[0].noise.metrics.contains("control_s"));
  EXPECT_LT(said_.find("10 comparisons of A with itself, 4 pairs in 1 cell, 90 samples in all"), said_.find("about ")) << said_;
  EXPECT_LT(said_.find("about "), said_.find("comparison 1: ")) << said_;
}

TEST_F(NoiseMeasurement, GoesOnAfterAnInterrupt) {
  const InterruptGuard guard;
  SimulatedProgram program;
  program.alter = [taken = 0](const SampleRequest&, Sample&) mutable {
    if (++taken == 34) raise(SIGINT);  // one in the rehearsal, three comparisons of nine, in the middle of the fourth
  };
  std::string why;
  try {
    measure(program);
  } catch (const std::exception& error) {
    why = error.what();
  }
  EXPECT_NE(why.find("--out " + options_.out.string() + " --resume"), std::string::npos) << why;
  EXPECT_TRUE(std::filesystem::exists(options_.out / "aa-04" / "journal.jsonl")) << "its samples are kept as well";
}

TEST_F(NoiseMeasurement, ResumesWithoutASampleTakenTwice) {
  int taken = 0;
  SimulatedProgram dying;
  dying.alter = [&](const SampleRequest&, Sample&) {
    if (++taken == 34) throw std::runtime_error("killed");
  };
  EXPECT_THROW(measure(dying), std::runtime_error);
  options_.resume = true;
  taken = 0;
  SimulatedProgram counting;
  counting.alter = [&](const SampleRequest&, Sample&) { ++taken; };
  const NoiseResult result = measure(counting);
  EXPECT_EQ(taken, 1 + 90 - 32) << "a rehearsal, and what was not yet there";
  EXPECT_EQ(result.cells[0].noise.metrics.at("wall_s").comparisons, 10);
}

TEST_F(NoiseMeasurement, LeavesInvalidComparisonsOutAndGivesUpWhenThereAreMany) {
  int comparison = -1;
  SimulatedProgram program;
  program.alter = [&](const SampleRequest& request, Sample& sample) {
    if (request.position == 0) ++comparison;  // the rehearsal is the first
    if (comparison == 3 && request.arm == 'B') sample.output_hash = "another";
  };
  const NoiseResult result = measure(program);
  EXPECT_EQ(result.invalid, 1);
  EXPECT_EQ(result.cells[0].noise.metrics.at("wall_s").comparisons, 10);
  options_.out = folder_ / "all";
  SimulatedProgram broken;
  broken.alter = [](const SampleRequest& request, Sample& sample) { sample.output_hash = request.arm; };
  try {
    measure(broken);
    FAIL() << "no floor can come of this";
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find("12 of 12 comparisons of A with itself are INVALID"), std::string::npos) << error.what();
  }
}

TEST_F(NoiseMeasurement, IsKeptAndUsedByVerdicts) {
  json asked = scenario_json();
  asked["arms"]["B"]["workload"] = {{"env", {{"X", "1"}}}};
  asked["sweep"] = {{"/arms/B/workload/env/Y", {"1", "2"}}};
  const Scenario scenario = scenario_from(asked);
  const NoiseResult result = measure({}, asked);
  ASSERT_EQ(result.cells.size(), 1U);
  const std::filesystem::path store = folder_ / "store";
  EXPECT_TRUE(stored_noise(store, scenario)[0].from.empty());
  store_noise(store, result.scenario, 0, result.cells[0]);
  const NoiseFloors floors = stored_noise(store, scenario);
  ASSERT_EQ(floors.size(), 2U);
  for (const CellNoise& cell : floors) {
    EXPECT_DOUBLE_EQ(cell.find("wall_s")->at(8), result.cells[0].noise.find("wall_s")->at(8)) << "both cells have the same A";
    EXPECT_TRUE(cell.from.starts_with("10 A/A comparisons of 4 pairs on 20")) << cell.from;
    EXPECT_EQ(cell.from.find("another"), std::string::npos) << cell.from;
  }
  options_.out = folder_ / "run";
  options_.record.noise = floors;
  SimulatedTarget target{SimulatedProgram{}};
  const RunOutcome outcome = run_scenario(scenario, target, options_);
  const auto written = json::parse(read_text_file(outcome.result_file.string()));
  EXPECT_NEAR(written["plan"]["noise_floor_percent"], percent(floors[0].find("wall_s")->at(8)), 1e-12);
  EXPECT_EQ(written["plan"]["noise_floor_from"], floors[0].from);
  asked["arms"]["A"]["workload"] = {{"env", {{"X", "2"}}}};
  EXPECT_TRUE(stored_noise(store, scenario_from(asked))[0].from.empty()) << "another A";
}

TEST_F(NoiseMeasurement, NamesAnotherBuildAndKernelAndStandsDamage) {
  const Scenario scenario = scenario_from(scenario_json());
  NoiseMeasured measured{{{{"wall_s", {1e-4, 0, 10, 4}}}, ""}, 10, 4, 0};
  const std::filesystem::path store = folder_ / "store", file = store_noise(store, scenario, 0, measured);
  json kept = json::parse(read_text_file(file.string()));
  kept["build"]["version"] = "0.0.7", kept["kernel"] = "2.4.1";
  std::ofstream(file) << kept.dump();
  const std::string from = stored_noise(store, scenario)[0].from;
  EXPECT_NE(from.find("by another build (0.0.7"), std::string::npos) << from;
  EXPECT_NE(from.find("under another kernel (2.4.1)"), std::string::npos) << from;
  kept["comparisons"] = 9;
  std::ofstream(file) << kept.dump();
  EXPECT_TRUE(stored_noise(store, scenario)[0].from.empty()) << "too few";
  for (const std::string& damage : {std::string("{"), std::string("[]"), std::string("{\"schema\": \"crossover.noise/1\"}"),
                                    [&] { kept["comparisons"] = 10, kept["noise"]["metrics"]["wall_s"]["within_variance_ln2"] = -1; return kept.dump(); }()}) {
    std::ofstream(file) << damage;
    std::string trouble;
    EXPECT_TRUE(stored_noise(store, scenario, &trouble)[0].from.empty()) << damage;
    EXPECT_NE(trouble.find("measure it again"), std::string::npos) << damage;
  }
}

// What a run began with holds to its end, though a floor be measured before it is resumed.
TEST_F(NoiseMeasurement, AResumedRunKeepsTheFloorItBeganWith) {
  const Scenario scenario = scenario_from(scenario_json());
  options_.record.noise = {{{{"wall_s", {1e-4, 1e-4, 10, 4}}}, "measured first"}};
  SimulatedProgram dying;
  dying.alter = [](const SampleRequest& request, Sample&) {
    if (request.position == 5) throw std::runtime_error("killed");
  };
  SimulatedTarget first(dying);
  EXPECT_THROW(run_scenario(scenario, first, options_), std::runtime_error);
  options_.resume = true;
  options_.record.noise = {{{{"wall_s", {1, 1, 10, 4}}}, "measured later"}};
  SimulatedTarget second{SimulatedProgram{}};
  const RunOutcome outcome = run_scenario(scenario, second, options_);
  EXPECT_EQ(outcome.verdict.noise_floor_from, "measured first");
  std::ofstream(options_.out / "plan.json") << "{\"schema\"";
  SimulatedTarget third{SimulatedProgram{}};
  EXPECT_THROW(run_scenario(scenario, third, options_), std::runtime_error) << "a damaged plan is not guessed at";
}

TEST(MachineId, IsStableAndTellsMachinesApart) {
  EXPECT_EQ(machine_id(), machine_id());
  EXPECT_EQ(machine_id().size(), 16U);
  const test::TempFolder owner;
  const std::filesystem::path& root = owner.path();
  std::filesystem::create_directories(root / "etc"), std::filesystem::create_directories(root / "proc");
  const std::string bare = machine_id(root);
  std::ofstream(root / "etc/machine-id") << "0123456789abcdef0123456789abcdef\n";
  const std::string named = machine_id(root);
  std::ofstream(root / "proc/cpuinfo") << "processor : 0\nmodel name : one\n";
  const std::string with_cpu = machine_id(root);
  EXPECT_NE(bare, named);
  EXPECT_NE(named, with_cpu);
  EXPECT_EQ(named.find("0123456789abcdef"), std::string::npos);
}

}  // namespace
}  // namespace crossover
