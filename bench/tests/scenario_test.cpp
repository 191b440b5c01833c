#include "bench/scenario.h"

#include <gtest/gtest.h>

#include <stdexcept>

#include "bench/scenario_schema.h"
#include "bench/shipped_scenarios.h"
#include "bench/tests/simulation.h"

namespace crossover {
namespace {

using nlohmann::json;

json engine_scenario() {
  return {{"schema", "crossover.scenario/1"},
          {"name", "engine"},
          {"workload", {{"kind", "prefill"}, {"model", {{"synth", "tiny-dense"}}}}},
          {"arms", {{"A", {{"knobs", {{"CROSSOVER_GDN_PREFILL", "recurrent"}}}}}, {"B", json::object()}}}};
}

std::string refusal(const std::string& text, const ScenarioChanges& changes = {}) {
  try {
    parse_scenario(text, "x.json", changes);
  } catch (const std::exception& error) {
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << "one line";
    return error.what();
  }
  return "accepted";
}

void expect_refusal(const json& scenario, const std::string& why) {
  const std::string said = refusal(scenario.dump());
  EXPECT_NE(said.find(why), std::string::npos) << "said: " << said << "\nwanted: " << why;
}

json with(json scenario, const char* pointer, json value) {
  scenario[json::json_pointer(pointer)] = std::move(value);
  return scenario;
}

TEST(Scenario, FillsDefaults) {
  const Scenario scenario = scenario_from(engine_scenario());
  EXPECT_EQ(scenario.pairs, 8);
  EXPECT_EQ(scenario.primary, "prefill.total_s");
  EXPECT_EQ(scenario.threshold_percent, 2);
  EXPECT_EQ(scenario.expect.outputs, OutputRule::kIdentical);
  EXPECT_EQ(scenario.max_failed, 0);
  ASSERT_EQ(scenario.cells.size(), 1U);
  EXPECT_EQ(scenario.cells[0].a.knobs.at("CROSSOVER_GDN_PREFILL"), "recurrent");
  EXPECT_TRUE(scenario.cells[0].b.knobs.empty());
  const json workload = json::parse(scenario.cells[0].b.workload);
  EXPECT_EQ(workload["kv_k"], "f16");
  EXPECT_EQ(workload["chunk"], 2048);
  EXPECT_EQ(workload["kv_capacity_tokens"], 512);
  EXPECT_EQ(json::parse(scenario.json)["plan"]["looks"], json::array({8}));
}

TEST(Scenario, SweepsBothArmsAtOnce) {
  json scenario = engine_scenario();
  scenario["sweep"] = {{"/arms/*/knobs/CROSSOVER_ISA", {"avx2", "portable"}}};
  const Scenario parsed = scenario_from(scenario);
  ASSERT_EQ(parsed.cells.size(), 2U);
  EXPECT_EQ(parsed.cells[1].name, "CROSSOVER_ISA=portable");
  EXPECT_EQ(parsed.cells[1].a.knobs, (std::map<std::string, std::string>{{"CROSSOVER_GDN_PREFILL", "recurrent"}, {"CROSSOVER_ISA", "portable"}}));
  EXPECT_EQ(parsed.cells[1].b.knobs, (std::map<std::string, std::string>{{"CROSSOVER_ISA", "portable"}}));
}

TEST(Scenario, IgnoresOutputsOfAnExternalProgramThatNamesNone) {
  json scenario = scenario_json();
  scenario.erase("expect");
  EXPECT_EQ(scenario_from(scenario).expect.outputs, OutputRule::kIgnore);
  scenario["workload"]["output"] = {{"regex", "x"}};
  EXPECT_EQ(scenario_from(scenario).expect.outputs, OutputRule::kIdentical);
}

TEST(Scenario, SuggestsTheNearestNames) {
  expect_refusal(with(engine_scenario(), "/workload/promt_tokens", 3), "did you mean 'prompt_tokens'?");
  expect_refusal(with(engine_scenario(), "/plan/pair", 8), "unknown field 'pair' in /plan; did you mean 'pairs'?");
  expect_refusal(with(engine_scenario(), "/expects", json::object()), "did you mean 'expect'?");
  expect_refusal(with(engine_scenario(), "/zzzzzzzzz", 1), "fields there:");
  expect_refusal(with(engine_scenario(), "/arms/C", json::object()), "unknown arm 'C'");
  expect_refusal(with(engine_scenario(), "/arms/B/knobs/CROSSOVER_GDN_PREFIL", "chunked"), "did you mean CROSSOVER_GDN_PREFILL?");
  expect_refusal(with(engine_scenario(), "/arms/B/knobs/CROSSOVER_GDN_PREFILL", "fast"), "recurrent, chunked");
  expect_refusal(with(engine_scenario(), "/arms/B/knobs/CROSSOVER_GDN_PREFILL", ""), "empty value");
}

TEST(Scenario, SaysWhatIsAllowed) {
  expect_refusal(with(engine_scenario(), "/workload/kind", "prefil"), "/workload/kind is \"prefil\"; allowed: one of");
  expect_refusal(with(engine_scenario(), "/workload/prompt_tokens", "many"), "allowed: integer, at least 1");
  expect_refusal(with(engine_scenario(), "/workload/prompt_tokens", 0), "at least 1");
  expect_refusal(with(engine_scenario(), "/workload/prompt_tokens", 1e300), "integer");
  expect_refusal(with(engine_scenario(), "/plan/pairs", -2), "at least 2");
  expect_refusal(with(engine_scenario(), "/plan/seed", -1), "at least 0");
  expect_refusal(with(engine_scenario(), "/expect/outputs", "same"), "identical");
  expect_refusal(with(engine_scenario(), "/schema", "crossover.scenario/9"), "crossover.scenario/1");
  expect_refusal(with(engine_scenario(), "/name", "../../etc"), "/name");
  expect_refusal(json::array(), "no JSON object");
  json no_arms = engine_scenario();
  no_arms.erase("arms");
  expect_refusal(no_arms, "field \"arms\" is missing");
  json one_arm = engine_scenario();
  one_arm["arms"].erase("B");
  expect_refusal(one_arm, "field \"B\" is missing in /arms");
}

TEST(Scenario, LooksSayHowManyPairs) {
  const Scenario looks = parse_scenario(with(engine_scenario(), "/plan/looks", json::array({8, 16})).dump(), "test");
  EXPECT_EQ(looks.pairs, 16);
  EXPECT_EQ(looks.looks, (std::vector<int>{8, 16}));
  const Scenario raised = parse_scenario(with(engine_scenario(), "/plan/looks", json::array({8, 16})).dump(), "test", {{}, 12});
  EXPECT_EQ(raised.looks, std::vector<int>{12}) << "--pairs takes one look";
  EXPECT_EQ(parse_scenario(engine_scenario().dump(), "test", {{"/plan/looks=[4,8]"}, std::nullopt}).pairs, 8);
}

TEST(Scenario, RefusesWhatCannotBeMeasured) {
  expect_refusal(with(engine_scenario(), "/plan/pairs", 7), "7 pairs are odd");
  expect_refusal(with(with(engine_scenario(), "/plan/pairs", 8), "/plan/looks", json::array({4, 6})), "the last look must be at /plan/pairs, which is 8");
  expect_refusal(with(engine_scenario(), "/plan/looks", json::array({8, 8})), "looks must rise");
  expect_refusal(with(engine_scenario(), "/plan/looks", json::array({16, 8})), "looks must rise");
  expect_refusal(with(engine_scenario(), "/plan/looks", json::array({7, 16})), "7 pairs are odd");
  expect_refusal(with(engine_scenario(), "/plan/looks", json::array({2, 8})), "below 4 pairs nothing can be decided");
  expect_refusal(with(engine_scenario(), "/plan/looks", json::array({8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28})), "at most 10 looks");
  expect_refusal(with(engine_scenario(), "/plan/looks", json::array()), "/plan/looks");
  expect_refusal(with(engine_scenario(), "/plan/looks", json::array({8.5})), "/plan/looks");
  expect_refusal(with(engine_scenario(), "/plan/primary", "speed"), "does not say whether more is better");
  expect_refusal(with(engine_scenario(), "/workload/kv_capacity_tokens", 100), "raise kv_capacity_tokens");
  expect_refusal(with(engine_scenario(), "/workload/cpus", "0-"), "list of cores");
  expect_refusal(with(engine_scenario(), "/workload/model", json::object()), "either synth or path");
  expect_refusal(with(engine_scenario(), "/arms/B/workload/kind", "decode"), "another kind");
  expect_refusal(with(engine_scenario(), "/expect/differs", json::array({"gdn"})), "path.NAME");
  expect_refusal(with(scenario_json(), "/workload/metrics/t_s", json::object()), "says not where it comes from");
  expect_refusal(with(scenario_json(), "/workload/metrics/t_s", {{"json", "/a"}, {"regex", "b"}}), "keep one");
}

TEST(Scenario, SurvivesHostileText) {
  EXPECT_NE(refusal(std::string(1000000, '[')).find("nests deeper"), std::string::npos);
  std::string objects;
  for (int i = 0; i < 100000; ++i) objects += "{\"a\":";
  EXPECT_NE(refusal(objects).find("nests deeper"), std::string::npos);
  EXPECT_NE(refusal("").find("line 1"), std::string::npos);
  EXPECT_NE(refusal("{\"schema\": \"\xff\xfe\"}").find("not JSON"), std::string::npos);
  EXPECT_NE(refusal("{\n  \"schema\": 1,\n  oops}").find("line 3"), std::string::npos);
  EXPECT_NE(refusal("{\"name\": 1, \"name\": 2}").find("twice"), std::string::npos);
  EXPECT_NE(refusal("{\"a\": 1e999}").find("JSON"), std::string::npos);
  EXPECT_NE(refusal("/* [[[[ */ // {{{\n 5").find("no JSON object"), std::string::npos) << "brackets in comments are no nesting";
}

TEST(Scenario, SetsBeforeItChecks) {
  const auto set = [](std::vector<std::string> sets) { return parse_scenario(engine_scenario().dump(), "x", {std::move(sets), {}}); };
  EXPECT_EQ(json::parse(set({"/workload/prompt_tokens=64"}).cells[0].a.workload)["prompt_tokens"], 64);
  EXPECT_EQ(set({"/question=what now"}).question, "what now");
  EXPECT_EQ(set({"/arms/B/knobs/CROSSOVER_ISA=avx2"}).cells[0].b.knobs.at("CROSSOVER_ISA"), "avx2");
  EXPECT_EQ(set({"/plan/pairs=4", "/plan/pairs=6"}).pairs, 6);
  EXPECT_THROW(set({"/workload/prompt_tokens"}), std::invalid_argument);
  EXPECT_THROW(set({"workload/prompt_tokens=1"}), std::invalid_argument);
  EXPECT_THROW(set({"/name/inside=1"}), std::invalid_argument);
  EXPECT_THROW(set({"/workload/promt_tokens=1"}), std::invalid_argument);
  EXPECT_EQ(parse_scenario(engine_scenario().dump(), "x", {{}, 12}).pairs, 12);
  EXPECT_NE(refusal(engine_scenario().dump(), {{}, 5}).find("odd"), std::string::npos);
}

TEST(Scenario, ExpandsSweepsToCells) {
  json scenario = engine_scenario();
  scenario["sweep"] = {{"/workload/prompt_tokens", {64, 128}}, {"/arms/B/knobs/CROSSOVER_ISA", {"avx2", "portable"}}};
  const Scenario cells = scenario_from(scenario);
  ASSERT_EQ(cells.cells.size(), 4U);
  EXPECT_EQ(cells.cells[1].name, "CROSSOVER_ISA=avx2 prompt_tokens=128");
  EXPECT_EQ(cells.cells[3].b.knobs.at("CROSSOVER_ISA"), "portable");
  EXPECT_EQ(json::parse(cells.cells[3].a.workload)["kv_capacity_tokens"], 128);
  EXPECT_EQ(cells.pairs, 8);
  EXPECT_FALSE(cells.exploratory);
  expect_refusal(with(engine_scenario(), "/sweep", {{"/plan/pairs", {2, 4}}}), "a sweep changes /workload");
  expect_refusal(with(engine_scenario(), "/sweep", {{"/arms/C/knobs/CROSSOVER_ISA", {"avx2"}}}), "a sweep changes /workload");
  expect_refusal(with(engine_scenario(), "/sweep", {{"/arms/*/knobs/CROSSOVER_ISA", {"avx1"}}}), "CROSSOVER_ISA");
  expect_refusal(with(engine_scenario(), "/sweep", {{"/workload/prompt_tokens", {1, "x"}}}), "integer");
  expect_refusal(with(engine_scenario(), "/sweep", {{"/workload/prompt_tokens", json::array()}}), "/sweep");
  json large = engine_scenario();
  for (const char* field : {"prompt_tokens", "depth_tokens", "chunk"})
    for (int i = 1; i <= 30; ++i) large["sweep"][std::string("/workload/") + field].push_back(i);
  expect_refusal(large, "more than 10000 cells");
}

TEST(Scenario, LetsAnArmOverrideTheWorkload) {
  json scenario = scenario_json();
  scenario["workload"]["env"] = {{"X", "0"}, {"Y", "1"}};
  scenario["arms"]["B"]["workload"] = {{"env", {{"X", "1"}}}};
  const Scenario parsed = scenario_from(scenario);
  EXPECT_EQ(json::parse(parsed.cells[0].a.workload)["env"], json({{"X", "0"}, {"Y", "1"}}));
  EXPECT_EQ(json::parse(parsed.cells[0].b.workload)["env"], json({{"X", "1"}, {"Y", "1"}}));
}

TEST(ShippedScenarios, AreAllValid) {
  EXPECT_FALSE(shipped_scenarios().empty());
  for (const ShippedScenario& shipped : shipped_scenarios())
    EXPECT_EQ(parse_scenario(shipped.text, shipped.name).name, shipped.name);
}

}  // namespace
}  // namespace crossover
