// A scenario and its samples without processes, files or waiting.
#pragma once

#include <nlohmann/json.hpp>

#include "bench/judge/verdict.h"
#include "bench/plan.h"
#include "bench/scenario.h"
#include "bench/targets/simulated.h"

namespace crossover {

nlohmann::json scenario_json();
Scenario scenario_from(const nlohmann::json& json);
std::vector<Sample> simulate(const Scenario& scenario, const SimulatedProgram& program);
Verdict judge_simulated(const nlohmann::json& json, const SimulatedProgram& program);

}  // namespace crossover
