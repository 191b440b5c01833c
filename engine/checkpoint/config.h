// What a checkpoint says about its model, checked: a field the engine has no code for is refused by name, never
// ignored.
#pragma once

#include <filesystem>

#include "engine/checkpoint/gguf.h"
#include "engine/model.h"

namespace crossover {

// config.json (nested text_config or flat, both spellings of RoPE) and generation_config.json of a directory.
// mtp_layers is what the tensors say and is left 0 here; tied_embeddings is what the config says.
ModelConfig read_config(const std::filesystem::path& directory);

// The metadata of a GGUF file; vocabulary and tied embeddings come from its tensors.
ModelConfig read_config(const GgufHeader& header);

// std::runtime_error, starting with `where`, unless sizes are positive, divide as the model needs and fit the kernels.
void check_config(const ModelConfig& config, const std::string& where);

}  // namespace crossover
