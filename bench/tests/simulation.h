// A scenario and its samples without processes, files or waiting.
#pragma once

#include <nlohmann/json.hpp>

#include "bench/judge/verdict.h"
#include "bench/plan.h"
#include "bench/scenario.h"
#include "bench/targets/simulated.h"

namespace crossover {

inline nlohmann::json scenario_json() {
  return {{"schema", "crossover.scenario/1"},
          {"name", "simulated"},
          {"workload", {{"kind", "external"}, {"command", {"true"}}, {"metrics", {{"wall_s", nlohmann::json::object()}}}}},
          {"arms", {{"A", nlohmann::json::object()}, {"B", nlohmann::json::object()}}},
          {"plan", {{"pairs", 8}, {"seed", 1}, {"primary", "wall_s"}, {"threshold_percent", 1}}},
          {"expect", {{"outputs", "identical"}}}};
}

inline Scenario scenario_from(const nlohmann::json& json) { return parse_scenario(json.dump(), "test"); }

inline std::vector<Sample> simulate(const Scenario& scenario, const SimulatedProgram& program) { return simulate(make_plan(scenario), program); }

inline Verdict judge_simulated(const nlohmann::json& json, const SimulatedProgram& program) {
  const Scenario scenario = scenario_from(json);
  return judge(scenario, simulate(scenario, program));
}

}  // namespace crossover
