// The config of a synthetic checkpoint as files and as the numbers of its tensors.
#pragma once

#include <string>

#include "engine/checkpoint/synth.h"

namespace crossover {

// config.json and generation_config.json of `config`.
std::string synth_config_json(const SynthOptions& options, const ModelConfig& config);
std::string synth_generation_config_json(const ModelConfig& config);

}  // namespace crossover
