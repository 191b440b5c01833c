// The config of a synthetic checkpoint as files and as the numbers of its tensors.
#pragma once

#include <string>

#include "engine/checkpoint/synth.h"

namespace crossover {

// config.json and generation_config.json of `config`.
std::string synth_config_json(const SynthOptions& options, const ModelConfig& config);
std::string synth_generation_config_json(const ModelConfig& config);

// tokenizer.json whose first 256 tokens are the bytes and whose others are the words " t256", " t257", ..., so that any
// text can be a prompt and any generated id is readable. For a vocabulary of at least 256.
std::string synth_tokenizer_json(std::int64_t vocab);

}  // namespace crossover
