// Names and head order: the tensors of a Hugging Face checkpoint or of a GGUF file as the engine's GGUF tensors, each
// with the recipe of its rows and columns (model-spec sections 2.3 to 2.10). Every tensor of the model must be there
// with its shape and a type the engine knows; vision tensors are skipped; any other tensor is an error that names it.
#pragma once

#include <vector>

#include "engine/checkpoint/source.h"
#include "engine/checkpoint/stored_tensor.h"

namespace crossover {

// Sets config.mtp_layers and config.tied_embeddings to what the tensors say.
std::vector<SourceTensor> map_hf_tensors(const StoredTensors& stored, ModelConfig& config);
std::vector<SourceTensor> map_gguf_tensors(const StoredTensors& stored, const ModelConfig& config);

}  // namespace crossover
