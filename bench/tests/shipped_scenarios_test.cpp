#include "bench/shipped_scenarios.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>

namespace crossover {
namespace {

nlohmann::json parsed(const ShippedScenario& scenario) {
  return nlohmann::json::parse(scenario.text, nullptr, true, true);
}

TEST(ShippedScenarios, AreNamedAsTheirFilesAndAskAQuestion) {
  ASSERT_GE(shipped_scenarios().size(), 6u);
  for (const ShippedScenario& scenario : shipped_scenarios()) {
    const auto file = parsed(scenario);
    EXPECT_EQ(file.at("schema"), "crossover.scenario/1") << scenario.name;
    EXPECT_EQ(file.at("name"), scenario.name);
    EXPECT_TRUE(file.at("question").get<std::string>().ends_with("?")) << scenario.name;
    EXPECT_EQ(find_shipped_scenario(scenario.name), &scenario);
  }
}

TEST(ShippedScenarios, AreSortedAndHoldNoSchema) {
  const auto all = shipped_scenarios();
  EXPECT_TRUE(std::is_sorted(all.begin(), all.end(),
                             [](const auto& x, const auto& y) { return std::string_view(x.name) < y.name; }));
  EXPECT_EQ(find_shipped_scenario("schema"), nullptr);
  EXPECT_EQ(find_shipped_scenario(""), nullptr);
}

// A question worth shipping can be answered: enough pairs for a verdict, and the arms differ.
TEST(ShippedScenarios, CanReachAVerdict) {
  for (const ShippedScenario& scenario : shipped_scenarios()) {
    const auto file = parsed(scenario);
    EXPECT_GE(file.at("plan").value("pairs", 8), 8) << scenario.name;
    EXPECT_NE(file.at("arms").at("A"), file.at("arms").at("B")) << scenario.name;
  }
}

}  // namespace
}  // namespace crossover
