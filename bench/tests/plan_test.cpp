#include "bench/plan.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "bench/tests/simulation.h"

namespace crossover {
namespace {

Scenario with_cells(int cells, int pairs, int seed) {
  nlohmann::json scenario = scenario_json();
  scenario["plan"]["pairs"] = pairs, scenario["plan"]["seed"] = seed;
  for (int i = 0; i < cells; ++i) scenario["sweep"]["/workload/priority"].push_back(i);
  return scenario_from(scenario);
}

TEST(Plan, BalancesOrdersInEveryCellAndKeepsPairsTogether) {
  for (int seed = 1; seed <= 50; ++seed) {
    const Plan plan = make_plan(with_cells(3, 8, seed));
    ASSERT_EQ(plan.samples.size(), 3U * 16 + 3);
    std::map<int, int> ab;
    for (std::size_t i = 0; i < 48; i += 2) {
      const PlannedSample &first = plan.samples[i], &second = plan.samples[i + 1];
      EXPECT_EQ(first.cell, second.cell);
      EXPECT_EQ(first.pair, second.pair);
      EXPECT_NE(first.arm, second.arm);
      EXPECT_EQ(first.prompt_seed, second.prompt_seed);
      ab[first.cell] += first.arm == 'A' ? 1 : 0;
    }
    for (int cell = 0; cell < 3; ++cell) EXPECT_EQ(ab[cell], 4);
    for (std::size_t i = 0; i < plan.samples.size(); ++i) EXPECT_EQ(plan.samples[i].position, static_cast<int>(i));
  }
}

TEST(Plan, BalancesOrdersUpToEachLook) {
  nlohmann::json scenario = scenario_json();
  scenario["plan"]["looks"] = {8, 12, 20}, scenario["plan"]["pairs"] = 20;
  scenario["sweep"] = {{"/workload/priority", {0, 1, 2}}};
  for (int seed = 1; seed <= 20; ++seed) {
    scenario["plan"]["seed"] = seed;
    const Plan plan = make_plan(scenario_from(scenario));
    ASSERT_EQ(plan.samples.size(), 3U * 40 + 3);
    std::size_t at = 0;
    int begin = 0;
    for (const int look : {8, 12, 20}) {
      std::map<int, int> ab;
      const std::size_t end = at + static_cast<std::size_t>(3 * 2 * (look - begin));
      for (; at < end; at += 2) {
        EXPECT_GE(plan.samples[at].pair, begin);
        EXPECT_LT(plan.samples[at].pair, look);
        EXPECT_EQ(plan.samples[at].pair, plan.samples[at + 1].pair);
        ab[plan.samples[at].cell] += plan.samples[at].arm == 'A' ? 1 : 0;
      }
      for (int cell = 0; cell < 3; ++cell) EXPECT_EQ(ab[cell], (look - begin) / 2) << "seed " << seed << " look " << look;
      begin = look;
    }
    EXPECT_TRUE(plan.samples[at].control);
  }
}

// A plan with looks begins as the one without: pairs 9 to 16 only come after.
TEST(Plan, GoesOnWhereALookDidNotDecide) {
  nlohmann::json scenario = scenario_json();
  scenario["plan"]["seed"] = 7, scenario["plan"]["looks"] = {8, 16}, scenario["plan"]["pairs"] = 16;
  std::string order;
  for (const PlannedSample& sample : make_plan(scenario_from(scenario)).samples) order += sample.arm;
  EXPECT_EQ(order.substr(0, 16), "BABABAABABABBAAB");
  EXPECT_EQ(order.size(), 33U);
}

TEST(Plan, NamesThePlanThatItExtends) {
  const Scenario scenario = with_cells(1, 16, 5);
  const std::string own = make_plan(scenario).hash, after = make_plan(scenario, own).hash;
  EXPECT_NE(own, after);
  EXPECT_NE(after, make_plan(scenario, after).hash);
}

TEST(Plan, ShufflesPairsOfAllCellsTogether) {
  const Plan plan = make_plan(with_cells(4, 8, 3));
  int changes = 0;
  for (std::size_t i = 2; i < 64; i += 2) changes += plan.samples[i].cell != plan.samples[i - 2].cell ? 1 : 0;
  EXPECT_GT(changes, 12);
}

TEST(Plan, EndsWithOneControlPerCellWithThePromptOfPairZero) {
  const Plan plan = make_plan(with_cells(2, 4, 9));
  for (std::size_t i = 0; i < 2; ++i) {
    const PlannedSample& control = plan.samples[16 + i];
    EXPECT_TRUE(control.control);
    EXPECT_EQ(control.arm, 'A');
    EXPECT_EQ(control.cell, static_cast<int>(i));
    for (const PlannedSample& sample : plan.samples) {
      const bool same_pair = sample.cell == control.cell && sample.pair == 0;
      EXPECT_EQ(sample.prompt_seed == control.prompt_seed, same_pair);
    }
  }
}

TEST(Plan, GivesEveryPairItsOwnPromptAndEverySampleItsOwnNonce) {
  const Plan plan = make_plan(with_cells(3, 8, 1));
  std::set<std::uint64_t> prompts;
  std::set<std::string> nonces;
  for (const PlannedSample& sample : plan.samples) prompts.insert(sample.prompt_seed), nonces.insert(nonce_of(plan, sample));
  EXPECT_EQ(prompts.size(), 24U);
  EXPECT_EQ(nonces.size(), plan.samples.size());
}

TEST(Plan, IsAFunctionOfTheScenario) {
  const Plan plan = make_plan(with_cells(2, 8, 5));
  EXPECT_EQ(make_plan(with_cells(2, 8, 5)).hash, plan.hash);
  EXPECT_NE(make_plan(with_cells(2, 8, 6)).hash, plan.hash);
  nlohmann::json other = scenario_json();
  const std::string before = make_plan(scenario_from(other)).hash;
  other["plan"]["threshold_percent"] = 3;
  EXPECT_NE(make_plan(scenario_from(other)).hash, before) << "the threshold is registered with the plan";
  other = scenario_json();
  other["plan"]["looks"] = {4, 8};
  EXPECT_NE(make_plan(scenario_from(other)).hash, before) << "the looks are, too";
}

// The first eight orders of seed 7 are part of the contract with journals: another generator would not resume them.
TEST(Plan, IsTheSameInEveryBuild) {
  std::string order;
  for (const PlannedSample& sample : make_plan(with_cells(1, 8, 7)).samples) order += sample.arm;
  EXPECT_EQ(order.size(), 17U);
  EXPECT_EQ(order, "BABABAABABABBAABA");
}

}  // namespace
}  // namespace crossover
