// A cell's noise floor as JSON, in the plan of a run and in the store of the machine.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "bench/noise/noise_floor.h"

namespace crossover {

nlohmann::json noise_to_json(const CellNoise& cell);
CellNoise noise_from_json(const nlohmann::json& json);  // std::runtime_error: a field is missing or no number that can be

}  // namespace crossover
