#include "bench/process/child_environment.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <stdexcept>

#include "bench/tests/simulation.h"

namespace crossover {
namespace {

AmbientEnvironment split(std::vector<std::string> block, const nlohmann::json& scenario, bool inherit) {
  std::vector<char*> pointers;
  for (std::string& entry : block) pointers.push_back(entry.data());
  pointers.push_back(nullptr);
  return split_environment(pointers.data(), scenario_from(scenario), inherit);
}

nlohmann::json with_knob() {
  nlohmann::json scenario = scenario_json();
  scenario["arms"]["B"]["knobs"] = {{"CROSSOVER_ISA", "avx2"}};
  return scenario;
}

TEST(AmbientEnvironment, DropsAndListsItsKnobs) {
  const AmbientEnvironment out = split({"PATH=/bin", "CROSSOVER_READ=mmap", "CROSSOVER_GOLDEN=/x", "odd"}, with_knob(), false);
  EXPECT_EQ(out.kept, std::vector<std::string>{"PATH=/bin"});
  EXPECT_EQ(out.dropped, (std::vector<std::string>{"CROSSOVER_READ", "CROSSOVER_GOLDEN"}));
}

TEST(AmbientEnvironment, RefusesAVariableThatAnArmDecides) {
  EXPECT_THROW(split({"CROSSOVER_ISA=auto"}, with_knob(), false), std::invalid_argument);
  EXPECT_THROW(split({"CROSSOVER_ISA=auto"}, with_knob(), true), std::invalid_argument);
}

TEST(AmbientEnvironment, InheritsTheOthersWhenAsked) {
  const AmbientEnvironment out = split({"CROSSOVER_READ=pread", "CROSSOVER_UNKNOWN=1"}, with_knob(), true);
  EXPECT_EQ(out.kept, std::vector<std::string>{"CROSSOVER_READ=pread"});
  EXPECT_EQ(out.dropped, std::vector<std::string>{"CROSSOVER_UNKNOWN"});
  EXPECT_THROW(split({"CROSSOVER_READ=never"}, with_knob(), true), std::invalid_argument);
}

TEST(SampleEnvironments, LetTheScenarioWinOverTheAmbient) {
  nlohmann::json json = with_knob();
  json["workload"]["env"] = {{"X", "scenario"}};
  const Scenario scenario = scenario_from(json);
  const Plan plan = make_plan(scenario);
  const auto blocks = sample_environments(scenario, plan, {{"X=ambient", "Y=2"}, {}});
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const auto has = [&](const char* entry) { return std::count(blocks[i].begin(), blocks[i].end(), entry); };
    EXPECT_EQ(has("X=scenario"), 1);
    EXPECT_EQ(has("X=ambient"), 0);
    EXPECT_EQ(has("Y=2"), 1);
    EXPECT_EQ(has("CROSSOVER_ISA=avx2"), plan.samples[i].arm == 'B' ? 1 : 0);
  }
}

TEST(SampleEnvironments, RefuseKnobsAndBadNamesInEnv) {
  for (const char* name : {"CROSSOVER_ISA", "A=B", ""}) {
    nlohmann::json json = scenario_json();
    json["workload"]["env"] = {{name, "1"}};
    const Scenario scenario = scenario_from(json);
    EXPECT_THROW(sample_environments(scenario, make_plan(scenario), {}), std::invalid_argument) << name;
  }
}

TEST(Placeholders, AreReplacedEverywhereAndNotTwice) {
  EXPECT_EQ(fill_placeholders("{arm}-{sample}-{nonce}-{arm}-{other}", 'B', 12, "n0"), "B-12-n0-B-{other}");
  EXPECT_EQ(fill_placeholders("", 'A', 0, ""), "");
}

}  // namespace
}  // namespace crossover
