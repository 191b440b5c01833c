// The shape of a scenario file, checked against scenarios/schema.json with messages for people.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace crossover {

const char* scenario_schema_text();  // scenarios/schema.json, embedded at build time
const char* result_schema_text();    // results/schema.json

// std::invalid_argument with one line: the first unknown field with the nearest right name, else the first value that the schema
// refuses with what it allows. `source` names the document.
void check_scenario_shape(const nlohmann::json& scenario, const std::string& source);

// Empty, or why the document is not what the schema says; for tests of what we write.
std::string schema_complaint(const nlohmann::json& document, const std::string& schema_text);

}  // namespace crossover
