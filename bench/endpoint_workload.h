// The workload of kind `endpoint` in a scenario: its defaults, and what it may say.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace crossover {

void fill_endpoint_workload(nlohmann::json& workload);

// std::invalid_argument with one line, `source` and `where` in it: a field that an endpoint has no use for, or one of an endpoint in
// another kind; no url or one with a password; two prompts; a secret in the file; a field that the request fills by itself.
void check_endpoint_workload(nlohmann::json& workload, const std::string& where, const std::string& source);
void refuse_endpoint_fields(const nlohmann::json& workload, const std::string& where, const std::string& source);

}  // namespace crossover
