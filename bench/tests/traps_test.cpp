// The ways in which published numbers of this kind went wrong, one test each: the rule of the harness acts. Those of the engine are in
// engine_traps_test.cpp; the table in CONTRIBUTING.md names them all.
#include <gtest/gtest.h>
#include <unistd.h>

#include <regex>
#include <set>

#include "bench/build_info.h"
#include "bench/load_floors.h"
#include "bench/machine/environment.h"
#include "bench/machine/perf_counters.h"
#include "bench/machine/sample_conditions.h"
#include "bench/process/child_environment.h"
#include "bench/result.h"
#include "bench/runner.h"
#include "bench/shipped_scenarios.h"
#include "bench/tests/gate_simulation.h"
#include "bench/timed_generation.h"
#include "engine/knobs.h"
#include "engine/tests/temp_folder.h"

namespace crossover {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

void expect_void(const Verdict& verdict, const std::string& why) {
  EXPECT_EQ(verdict.word, Word::kInvalid) << why;
  EXPECT_NE(verdict.reason.find(why), std::string::npos) << verdict.reason;
}

Verdict judge_altered(Alter alter, const json& scenario = scenario_json()) { return judge_simulated(scenario, altered(std::move(alter))); }

TEST(Trap, 01_HeatAndOrderAreNoEffect) {
  SimulatedProgram program;
  program.noise_ln = 0.002, program.drift_ln = 0.01, program.second_ln = 0.05;  // warms up all the time, and the second always suffers
  const Verdict verdict = judge_simulated(scenario_json(), program);
  EXPECT_NE(verdict.word, Word::kFaster);
  EXPECT_NE(verdict.word, Word::kSlower);
  EXPECT_NEAR(verdict.cells[0].metrics.at("wall_s").estimate->order_effect, 0.06, 0.01);  // measured, not hidden
  expect_void(judge_altered([](const SampleRequest& request, Sample& sample) {
                if (request.position == 4) sample.flags.push_back("throttled: the clock was lowered 2 times by heat or power");
              }),
              "throttled");
}

TEST(Trap, 02_UnlikePageCachesAreNotCompared) {
  expect_void(judge_altered([](const SampleRequest& request, Sample& sample) {
                sample.page_cache = PageCacheState{request.arm == 'A' ? "cold" : "warm", 0, 100};
              }),
              "page cache was cold for A and warm for B");
}

TEST(Trap, 03_PrefixReuseVoidsAndPromptsAreFresh) {
  expect_void(judge_altered([](const SampleRequest& request, Sample& sample) { sample.counters["reused_tokens"] = request.position == 9 ? 1 : 0; }),
              "from a prefix cache");
  const Plan plan = make_plan(scenario_from(scenario_json()));
  std::set<std::string> nonces;
  std::set<std::uint64_t> prompts;
  for (const PlannedSample& sample : plan.samples) nonces.insert(nonce_of(plan, sample)), prompts.insert(sample.prompt_seed);
  EXPECT_EQ(nonces.size(), plan.samples.size());
  EXPECT_EQ(prompts.size(), 8U);  // of the pairs
}

TEST(Trap, 09_SilentFallbackVoids) {
  json scenario = scenario_json();
  scenario["expect"]["path"] = {{"kernel", "fast"}};
  const auto ran = [&](const char* kernel) {
    return judge_altered([=](const SampleRequest& request, Sample& sample) { sample.path["kernel"] = request.position == 11 ? kernel : "fast"; }, scenario);
  };
  EXPECT_EQ(ran("fast").word, Word::kEquivalent);
  expect_void(ran("fallback"), "should be fast and arm");
}

TEST(Trap, 10_TimeMovedAcrossABoundaryVoids) {
  const auto with_read = [](double read_s) {
    return judge_altered([=](const SampleRequest&, Sample& sample) {
      sample.phases = {{"load", 0, 0, 2, std::nullopt, -1}, {"load.read", 0, 0, read_s, std::nullopt, 0}, {"load.other", 0, 0, 0.5, std::nullopt, 0}};
    });
  };
  EXPECT_EQ(with_read(1.5).word, Word::kEquivalent);
  expect_void(with_read(1.3), "sum to 1.8 s and it took 2 s");
}

TEST(Trap, 11_DecodeRateCountsAllTokensButTheFirstInALongWindow) {
  TimedGeneration run;
  run.token_s.assign(30, 0.01);  // 31 tokens; the first one ended the time to first token
  run.decode_s = 0.3;
  EXPECT_DOUBLE_EQ(*run.decode_tokens_per_s(), 100);
  run.decode_s = 0.199;
  EXPECT_FALSE(run.decode_tokens_per_s());
  run.decode_s.reset();
  EXPECT_FALSE(run.decode_tokens_per_s());
}

class TrapOfARun : public test::FolderTest {
 protected:
  TrapOfARun() {
    options_.out = folder_ / "out", options_.quiet = true;
  }

  RunOptions options_;
};

using Trap_12 = TrapOfARun;
TEST_F(Trap_12, FirstSampleIsKeptAndFlagged) {
  SimulatedTarget target(altered(nullptr));
  const RunOutcome outcome = run_scenario(scenario_from(scenario_json()), target, options_);
  EXPECT_EQ(outcome.samples.at(0).flags, std::vector<std::string>{"first"});
  EXPECT_EQ(outcome.verdict.cells[0].metrics.at("wall_s").pairs, 8);
}

TEST(Trap, 13_AIsComparedWithItselfBeforeBIsBlamed) {
  const Verdict verdict = judge_altered([](const SampleRequest& request, Sample& sample) { sample.output_hash = std::to_string(request.position); });
  expect_void(verdict, "A does not repeat its own output");
  EXPECT_EQ(verdict.cells[0].outputs.gate, "inconclusive");
}

TEST(Trap, 15_DefaultsAreInTheResultWithTheirOrigin) {
  Knobs knobs;
  char set[] = "CROSSOVER_MOE=per-token";
  char* block[] = {set, nullptr};
  knobs.set_from_environment(block);
  for (const KnobInfo& knob : all_knobs()) EXPECT_EQ(knobs.all().at(knob.name).origin, std::string(knob.name) == "CROSSOVER_MOE" ? "env" : "default");
  Sample sample;
  sample.knobs = {knobs.all().begin(), knobs.all().end()};
  const json stored = sample_to_json(sample);
  EXPECT_EQ(stored.at("knobs").size(), all_knobs().size());
  EXPECT_EQ(stored.at("knobs").at("CROSSOVER_MOE"), (json{{"value", "per-token"}, {"origin", "env"}}));
  EXPECT_TRUE(json::parse(scenario_from(scenario_json()).json).at("workload").contains("page_cache"));  // defaults are written out
}

TEST(Trap, 16_KnobsAreTypedNamedAndReadByEverySampleAnew) {
  Knobs knobs;
  EXPECT_THROW(knobs.set("CROSSOVER_MOEE", "grouped", "env"), std::invalid_argument);
  EXPECT_THROW(knobs.set("CROSSOVER_MOE", "", "env"), std::invalid_argument);
  EXPECT_THROW(knobs.set("CROSSOVER_MOE", "1", "env"), std::invalid_argument);  // set is not enough: no presence-style knob
  json text = scenario_json();
  text["arms"]["B"]["workload"]["env"] = {{"X", "1"}};
  const Scenario scenario = scenario_from(text);
  const Plan plan = make_plan(scenario);
  const auto blocks = sample_environments(scenario, plan, {});
  for (const PlannedSample& sample : plan.samples) {
    const auto& block = blocks.at(static_cast<std::size_t>(sample.position));
    EXPECT_EQ(std::count(block.begin(), block.end(), "X=1"), sample.arm == 'B');
    EXPECT_EQ(block.size(), blocks[0].size());
  }
}

TEST(Trap, 17_OffMeansOff) {
  const KnobInfo* cache = find_knob("CROSSOVER_QUANT_CACHE");
  ASSERT_NE(cache, nullptr);
  EXPECT_EQ(std::string(cache->default_value), "off");
  EXPECT_EQ(std::count(cache->values.begin(), cache->values.end(), "off"), 1);
  for (const KnobInfo& knob : all_knobs())
    if (std::string(knob.type) == "bool") {
      EXPECT_THROW(Knobs().set(knob.name, "off", "test"), std::invalid_argument) << knob.name;  // 0 and 1 only
    }
  EXPECT_EQ(json::parse(scenario_from(scenario_json()).json).at("schema"), "crossover.scenario/1");
}

TEST(Trap, 18_WhatWatchesASampleIsNoMetricOfIt) {
  ProcessResult process;
  process.counters = {{"perf.instructions", 5e9}}, process.wall_s = 1;
  Sample sample;
  sample.metrics["load.total_s"] = 0.5;
  note_process(process, sample);
  note_machine({1, 0, 0, 0, 0, 0, 0}, {2, 0, 0, 0, 0, 0, 0}, 2, sample);
  EXPECT_EQ(sample.metrics.size(), 1U);
  EXPECT_TRUE(sample.counters.contains("perf.instructions"));
}

using Trap_18 = TrapOfARun;
TEST_F(Trap_18, TracesAreApartFromSamples) {
  SimulatedTarget target(altered(nullptr));
  const RunOutcome outcome = run_scenario(scenario_from(scenario_json()), target, options_);
  const json result = result_to_json(scenario_from(scenario_json()), outcome, "{}", {});
  EXPECT_TRUE(result.at("traces").is_array());
  EXPECT_EQ(result.at("samples").size(), 17U);
}

TEST(Trap, 19_WhatCouldNotBeCountedIsMissingAndNeverZero) {
  const json environment = json::parse(environment_json());
  const PerfSupport support = perf_support("");
  for (const auto& [name, why] : support.missing) EXPECT_FALSE(environment.at("perf").at("missing").at(name).get<std::string>().empty()) << name;
  ProcessSpec spec;
  spec.argv = {"/bin/true"}, spec.environment = {"PATH=/bin"}, spec.counted = true;
  Sample sample;
  note_process(run_process(spec), sample);
  for (const auto& [name, why] : support.missing) EXPECT_FALSE(sample.counters.contains(name)) << name;
  note_machine({}, {}, 2, sample);
  EXPECT_FALSE(sample.counters.contains("machine.throttle_events"));
}

TEST(Trap, 22_FewPairsSayWhatTheyCouldHaveFound) {
  SimulatedProgram program;
  program.noise_ln = 0.05, program.effect_ln = 0.02;
  const Verdict few = judge_simulated(scenario_json(), program);
  EXPECT_EQ(few.word, Word::kInconclusive);
  EXPECT_NE(few.reason.find("smallest difference that could be found"), std::string::npos) << few.reason;
  EXPECT_NE(few.reason.find("would decide"), std::string::npos) << few.reason;
  const Verdict equal = judge_altered(nullptr);
  EXPECT_NE(equal.reason.find("would have been found"), std::string::npos) << equal.reason;
}

TEST(Trap, 23_TheBuildIsInTheResult) {
  const json build = json::parse(build_info_json());
  for (const char* field : {"version", "compiler", "flags"}) EXPECT_FALSE(build.at(field).get<std::string>().empty()) << field;
  EXPECT_EQ(build.contains("commit"), build.contains("dirty"));
}

TEST(Trap, 24_TheMachineIsInTheResult) {
  const json environment = json::parse(environment_json());
  for (const char* field : {"host", "cpu", "memory", "kernel", "virtualisation"}) EXPECT_TRUE(environment.contains(field)) << field;
}

TEST(Trap, 25_DerivedNumbersStandApart) {
  Sample sample;
  sample.metrics["load.total_s"] = 6;
  sample.counters = {{"bytes.read", 4e9}, {"values.quantized", 2e9}};
  sample.page_cache = PageCacheState{"warm", 100, 100};
  const json workload{{"kind", "cold_load"}, {"model", {{"synth", "qwen3.6-27b"}, {"layers", 4}, {"vocab", 8192}}}, {"weights", "q6_k"}, {"threads", 2}};
  const json floors = floors_to_json(*load_floors({&sample}, workload.dump(), LoadRates{1e9, 8e9, 5e8, 2}));
  EXPECT_DOUBLE_EQ(floors.at("total_s"), 6);
  EXPECT_GT(floors.at("derived").at("total_s").get<double>(), 6);  // of the model that was not run
  EXPECT_EQ(sample.metrics.size(), 1U);
}

// Counted work, and a machine whose ceilings are known; the second measurement of them is better than the first.
class Measured : public SimulatedTarget {
 public:
  Measured(double prefill_s, std::vector<double> flop_per_s)
      : SimulatedTarget(altered([=](const SampleRequest& request, Sample& sample) {
          sample.metrics["prefill.total_s"] = request.position == 3 ? prefill_s : 1;
          sample.counters["prefill.flops"] = 1e11;
        })),
        flop_per_s_(std::move(flop_per_s)) {}
  std::optional<Ceilings> ceilings() override {
    Ceilings ceilings;
    ceilings.fma_all_flop_per_s = flop_per_s_.at(std::min(asked_++, flop_per_s_.size() - 1));
    return ceilings;
  }
  std::size_t asked_ = 0;

 private:
  std::vector<double> flop_per_s_;
};

using Trap_26 = TrapOfARun;
TEST_F(Trap_26, FasterThanTheMachineIsVoid) {
  Measured target(0.001, {2e11});  // 1e14 flop/s
  const RunOutcome outcome = run_scenario(scenario_from(scenario_json()), target, options_);
  expect_void(outcome.verdict, "sample 3 reports what is impossible: prefill at 100 Tflop/s, 500.0 times the 200 Gflop/s that this machine reached");
  EXPECT_EQ(target.asked_, 4U);  // before the plan, and three times more before the sample was blamed
  EXPECT_DOUBLE_EQ(result_to_json(scenario_from(scenario_json()), outcome, "{}", {}).at("environment").at("ceilings").at("fma_f32_all_flop_per_s"), 2e11);
}

TEST_F(Trap_26, ADisturbedCeilingIsMeasuredAgain) {
  Measured target(0.5, {1e11, 3e11});  // 2e11 flop/s: above the first measurement, below the second
  const RunOutcome outcome = run_scenario(scenario_from(scenario_json()), target, options_);
  EXPECT_EQ(outcome.verdict.word, Word::kEquivalent) << outcome.verdict.reason;
  EXPECT_EQ(target.asked_, 2U);
  EXPECT_DOUBLE_EQ(outcome.ceilings->fma_all_flop_per_s, 3e11);
}

TEST(Trap, 28_AllocatedContextIsNoHiddenArm) {
  json scenario = scenario_json();
  scenario["arms"]["B"]["knobs"] = {{"CROSSOVER_MOE", "per-token"}};
  expect_void(judge_altered([](const SampleRequest& request, Sample& sample) {
                sample.counters["tokens.capacity"] = request.arm == 'A' ? 1024 : 16384, sample.counters["tokens.used"] = 512;
              }, scenario),
              "A allocates 1024 tokens of context and B 16384");
}

// Rows "| 7 | rule | `Suite.Name`, ... |": every trap has one, and what it names is there.
TEST(TrapTable, NamesATestForEveryTrap) {
  const fs::path source = CROSSOVER_SOURCE_DIR;
  std::set<std::string> tests;
  const std::regex test_line("TEST(?:_F|_P)?\\((\\w+), (\\w+)\\)");
  for (const char* folder : {"bench/tests", "engine/tests", "kernels/tests"})
    for (const auto& entry : fs::directory_iterator(source / folder)) {
      if (entry.path().extension() != ".cpp") continue;
      const std::string text = test::read_bytes(entry.path());
      for (std::sregex_iterator it(text.begin(), text.end(), test_line), end; it != end; ++it) tests.insert((*it)[1].str() + "." + (*it)[2].str());
    }
  const std::string page = test::read_bytes(source / "CONTRIBUTING.md");
  const std::regex row("\\n\\| (\\d+) \\|([^\\n]*)\\|"), name("`(\\w+\\.\\w+)`");
  std::set<int> traps;
  for (std::sregex_iterator it(page.begin(), page.end(), row), end; it != end; ++it) {
    const std::string cells = (*it)[2].str();
    const int trap = std::stoi((*it)[1].str());
    int named = 0;
    for (std::sregex_iterator found(cells.begin(), cells.end(), name), none; found != none; ++found, ++named)
      EXPECT_TRUE(tests.contains((*found)[1].str())) << "trap " << trap << " names " << (*found)[1].str();
    EXPECT_GT(named, 0) << "trap " << trap << " names no test";
    traps.insert(trap);
  }
  for (int trap = 1; trap <= 29; ++trap) EXPECT_TRUE(traps.contains(trap)) << trap;
}

}  // namespace
}  // namespace crossover
