// Runs with declared looks, and runs with more pairs than were declared.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <stdexcept>

#include "bench/extension.h"
#include "bench/json_text.h"
#include "bench/runner.h"
#include "bench/scenario_schema.h"
#include "bench/tests/simulation.h"
#include "engine/tests/temp_folder.h"

namespace crossover {
namespace {

using nlohmann::json;

class RunnerLooks : public test::FolderTest {
 protected:
  RunnerLooks() {
    options_.out = folder_ / "out", options_.quiet = true;
    options_.say = [this](const std::string& line) { said_ += line + "\n"; };
    scenario_["plan"]["looks"] = {8, 16}, scenario_["plan"]["pairs"] = 16;
  }

  RunOutcome run(SimulatedProgram program) {
    program.alter = [this, alter = program.alter](const SampleRequest& request, Sample& sample) {
      if (alter) alter(request, sample);
      taken_.push_back(request.position);
    };
    SimulatedTarget target(std::move(program));
    return run_scenario(scenario_from(scenario_), target, options_);
  }

  json result() const { return parse_json(read_text_file((options_.out / "result.json").string()), "result"); }

  static SimulatedProgram with(double effect_ln, double noise_ln) {
    SimulatedProgram program;
    program.effect_ln = effect_ln, program.noise_ln = noise_ln;
    return program;
  }

  RunOptions options_;
  json scenario_ = scenario_json();
  std::vector<int> taken_;
  std::string said_;
};

TEST_F(RunnerLooks, StopsWhereALookDecides) {
  const RunOutcome outcome = run(with(-0.05, 0.005));
  EXPECT_EQ(outcome.verdict.word, Word::kFaster);
  EXPECT_EQ(outcome.samples.size(), 17U) << "eight pairs and the determinism control";
  EXPECT_EQ(taken_.back(), 32) << "the control keeps its place in the plan";
  ASSERT_EQ(outcome.looks.size(), 1U);
  EXPECT_EQ(outcome.looks[0].pairs, 8);
  EXPECT_NEAR(outcome.looks[0].alpha_spent, 0.0294, 5e-5);
  EXPECT_NE(outcome.verdict.reason.find("95 % interval over 2 looks"), std::string::npos) << outcome.verdict.reason;
  EXPECT_NE(outcome.verdict.reason.find("decided at the look at 8 of 16 pairs"), std::string::npos) << outcome.verdict.reason;
  EXPECT_NE(said_.find("look at 8 pairs: FASTER; no further pairs are needed"), std::string::npos) << said_;
  EXPECT_EQ(schema_complaint(result(), result_schema_text()), "");
  EXPECT_EQ(result()["plan"]["looks"], json({8, 16}));
  EXPECT_EQ(result()["plan"]["looks_taken"].size(), 1U);
  EXPECT_EQ(result()["plan"]["looks_taken"][0]["word"], "FASTER");
  EXPECT_EQ(result()["plan"]["order"].size(), 32U) << "the whole plan, as it was hashed";
}

TEST_F(RunnerLooks, GoesOnWhereItDoesNot) {
  const RunOutcome outcome = run(with(0, 0.05));
  EXPECT_EQ(outcome.samples.size(), 33U);
  ASSERT_EQ(outcome.looks.size(), 2U);
  EXPECT_EQ(outcome.looks[0].word, Word::kInconclusive);
  EXPECT_NEAR(outcome.looks[1].alpha_spent, 0.05, 1e-6);
  EXPECT_EQ(outcome.verdict.cells[0].metrics.at("wall_s").pairs, 16);
  EXPECT_EQ(outcome.verdict.reason.find("decided at the look"), std::string::npos);
}

TEST_F(RunnerLooks, EquivalenceAndInvalidityStopToo) {
  EXPECT_EQ(run(with(0, 0.001)).looks.size(), 1U);
  options_.out = folder_ / "invalid";
  SimulatedProgram unlike = with(0, 0.05);
  unlike.alter = [](const SampleRequest& request, Sample& sample) { sample.output_hash = request.arm; };
  const RunOutcome outcome = run(unlike);
  EXPECT_EQ(outcome.verdict.word, Word::kInvalid);
  EXPECT_EQ(outcome.looks.size(), 1U);
  EXPECT_EQ(outcome.looks[0].word, Word::kInvalid);
}

// One cell is decided at once and the other is not: all cells go on, as the plan says.
TEST_F(RunnerLooks, WaitsForEveryCell) {
  scenario_["sweep"] = {{"/workload/priority", {0, 1}}};
  SimulatedProgram program = with(0, 0.001);
  program.alter = [](const SampleRequest& request, Sample& sample) {
    if (request.cell == 1) sample.metrics["wall_s"] *= request.position % 3 == 0 ? 1.2 : 0.9;
  };
  const RunOutcome outcome = run(program);
  EXPECT_EQ(outcome.looks.size(), 2U);
  EXPECT_EQ(outcome.samples.size(), 66U);
}

// However often and wherever it is interrupted, a run ends as it would have without.
TEST_F(RunnerLooks, ResumesToTheSameLooks) {
  for (const double noise : {0.005, 0.05}) {
    scenario_["plan"]["seed"] = noise < 0.01 ? 3 : 4;
    options_.out = folder_ / ("whole" + std::to_string(noise)), options_.resume = false;
    const SimulatedProgram program = with(-0.03, noise);
    const RunOutcome whole = run(program);
    options_.out = folder_ / ("parts" + std::to_string(noise));
    taken_.clear();
    RunOutcome parts;
    for (int tries = 0; tries < 40; ++tries) {
      SimulatedProgram dying = program;
      dying.alter = [count = 0](const SampleRequest&, Sample&) mutable {
        if (count++ == 2) throw std::runtime_error("killed");
      };
      try {
        parts = run(dying);
        break;
      } catch (const std::runtime_error&) {
        options_.resume = true;
      }
    }
    ASSERT_EQ(parts.samples.size(), whole.samples.size());
    ASSERT_EQ(parts.looks.size(), whole.looks.size());
    EXPECT_EQ(taken_.size(), whole.samples.size()) << "none twice";
    EXPECT_EQ(parts.plan.hash, whole.plan.hash);
    EXPECT_EQ(parts.verdict.word, whole.verdict.word);
    EXPECT_DOUBLE_EQ(parts.verdict.cells[0].metrics.at("wall_s").estimate->effect, whole.verdict.cells[0].metrics.at("wall_s").estimate->effect);
  }
}

// A look is acted on only where nothing beyond it was taken: what is there counts.
TEST_F(RunnerLooks, NeverDropsWhatWasTakenBeyondALook) {
  SimulatedProgram dying = with(0, 0.05);
  dying.alter = [](const SampleRequest& request, Sample&) {
    if (request.position == 20) throw std::runtime_error("killed");
  };
  EXPECT_THROW(run(dying), std::runtime_error);
  std::string journal = read_text_file((options_.out / "journal.jsonl").string());
  std::istringstream lines(journal);
  std::string rewritten;
  for (std::string line; std::getline(lines, line);) {  // as if the samples up to the look had decided
    json entry = json::parse(line);
    if (entry.contains("pair") && entry["pair"] < 8) entry["metrics"]["wall_s"] = entry["arm"] == "A" ? 1.0 : 0.5;
    rewritten += entry.dump() + "\n";
  }
  std::ofstream(options_.out / "journal.jsonl") << rewritten;
  options_.resume = true;
  const RunOutcome outcome = run(with(0, 0.05));
  EXPECT_EQ(outcome.samples.size(), 33U);
  EXPECT_EQ(outcome.looks.size(), 2U);
}

TEST_F(RunnerLooks, WithoutLooksThereIsOneAtFullLevel) {
  scenario_["plan"].erase("looks");
  const RunOutcome outcome = run(with(-0.05, 0.005));
  ASSERT_EQ(outcome.looks.size(), 1U);
  EXPECT_EQ(outcome.looks[0].pairs, 16);
  EXPECT_EQ(outcome.looks[0].alpha_spent, 0.05);
  EXPECT_EQ(outcome.verdict.look_level, 0.05);
}

class UnplannedExtension : public RunnerLooks {
 protected:
  UnplannedExtension() { scenario_["plan"].erase("looks"), scenario_["plan"]["pairs"] = 8; }
};

TEST_F(UnplannedExtension, IsFoundByItsQuestion) {
  options_.out = folder_ / "2026-11-21T100000.000Z";
  const std::string hash = run(with(0, 0.05)).plan.hash;
  json other = scenario_;
  other["plan"]["pairs"] = 16;
  const auto found = newest_extended_plan(scenario_from(other), folder_);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->plan_hash, hash);
  EXPECT_EQ(found->pairs, 8);
  EXPECT_FALSE(newest_extended_plan(scenario_from(scenario_), folder_)) << "not raised";
  other["plan"]["looks"] = {8, 16};
  EXPECT_FALSE(newest_extended_plan(scenario_from(other), folder_)) << "declared looks are no extension";
  other["plan"].erase("looks"), other["plan"]["threshold_percent"] = 7;
  EXPECT_FALSE(newest_extended_plan(scenario_from(other), folder_)) << "another question";
  std::filesystem::create_directories(folder_ / "2026-11-21T110000.000Z");
  std::ofstream(folder_ / "2026-11-21T110000.000Z" / "result.json") << "{\"scenario\": 5}";
  other["plan"]["threshold_percent"] = 1;
  EXPECT_TRUE(newest_extended_plan(scenario_from(other), folder_)) << "a broken result of another run is no reason to stop";
  EXPECT_FALSE(newest_extended_plan(scenario_from(other), folder_ / "none"));
}

TEST_F(UnplannedExtension, HasItsOwnPlanNamesTheOldOneAndKeepsApart) {
  options_.out = folder_ / "first";
  const std::string hash = run(with(0, 0.05)).plan.hash;
  scenario_["plan"]["pairs"] = 16;
  options_.out = folder_ / "second";
  options_.record.extends = extended_plan(scenario_from(scenario_), folder_ / "first");
  ASSERT_TRUE(options_.record.extends);
  SimulatedProgram dying = with(0, 0.05);
  dying.alter = [](const SampleRequest& request, Sample&) {
    if (request.position == 9) throw std::runtime_error("killed");
  };
  EXPECT_THROW(run(dying), std::runtime_error);
  options_.record.extends.reset();  // what it extends is in its folder
  options_.resume = true;
  const RunOutcome outcome = run(with(0, 0.05));
  EXPECT_EQ(outcome.samples.size(), 33U) << "none of the first run's";
  EXPECT_NE(outcome.plan.hash, make_plan(scenario_from(scenario_)).hash);
  EXPECT_NE(outcome.verdict.reason.find("unplanned extension of plan " + hash.substr(0, 12) + " (8 pairs), judged on its own samples alone"),
            std::string::npos)
      << outcome.verdict.reason;
  EXPECT_EQ(result()["plan"]["extends"]["hash"], hash);
  EXPECT_EQ(schema_complaint(result(), result_schema_text()), "");
}

}  // namespace
}  // namespace crossover
