// The result file: everything a verdict was made from. Its shape is results/schema.json.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "bench/runner.h"
#include "bench/whole_file.h"

namespace crossover {

nlohmann::json result_to_json(const Scenario& scenario, const RunOutcome& outcome, const std::string& environment,
                              const std::vector<std::string>& dropped_variables);

// To outcome.result_file, whole or not at all: a file beside it, synced, then renamed.
void write_result(const Scenario& scenario, const RunOutcome& outcome, const std::string& environment,
                  const std::vector<std::string>& dropped_variables);

}  // namespace crossover
