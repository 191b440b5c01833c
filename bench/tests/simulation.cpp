#include "bench/tests/simulation.h"

namespace crossover {

nlohmann::json scenario_json() {
  return nlohmann::json::parse(R"({
    "schema": "crossover.scenario/1",
    "name": "simulated",
    "workload": {"kind": "external", "command": ["true"], "metrics": {"wall_s": {}}},
    "arms": {"A": {}, "B": {}},
    "plan": {"pairs": 8, "seed": 1, "primary": "wall_s", "threshold_percent": 1},
    "expect": {"outputs": "identical"}
  })");
}

Scenario scenario_from(const nlohmann::json& json) { return parse_scenario(json.dump(), "test"); }

std::vector<Sample> simulate(const Scenario& scenario, const SimulatedProgram& program) { return simulate(make_plan(scenario), program); }

Verdict judge_simulated(const nlohmann::json& json, const SimulatedProgram& program) {
  const Scenario scenario = scenario_from(json);
  return judge(scenario, simulate(scenario, program));
}

}  // namespace crossover
