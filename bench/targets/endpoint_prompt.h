// The prompt of an endpoint sample. It begins with the sample's nonce, so that no two samples share a prefix; what follows is the
// same in both arms of a pair.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace crossover {

// `job` has nonce and prompt_seed beside the fields of the workload: the words that prompt_tokens asks for, drawn by the seed, or
// the text of prompt_file, in which {nonce} stands for the nonce. std::runtime_error where the file cannot be read, is empty or is
// no UTF-8.
std::string endpoint_prompt(const nlohmann::json& job);

}  // namespace crossover
