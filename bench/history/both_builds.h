// What decides a question that two result files leave open: one plan with both builds in it.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace crossover {

std::string shell_word(const std::string& text);  // in quotes where a shell would not take it as it is

// A scenario (JSON text) with the settings of one arm of NEW's in both arms. `result` has passed read_result; std::runtime_error for one
// without a scenario.
std::string both_builds_scenario(const nlohmann::ordered_json& result, const std::string& arm);

// The command that runs it, for a person to put the two paths in: "crossover run FILE --set ...".
std::string both_builds_command(const nlohmann::ordered_json& result, const std::string& file, const std::string& base_label,
                                const std::string& next_label);

}  // namespace crossover
