// Headers of safetensors files: names, types, shapes and byte ranges, all checked against the file sizes; no weights
// are read.
#pragma once

#include <filesystem>
#include <vector>

#include "engine/checkpoint/stored_tensor.h"

namespace crossover {

// The tensors of one file, in the order of its header; StoredTensor::file is `file_index`. std::runtime_error names the
// file and the tensor when the header is malformed, a tensor lies outside the file, two overlap or bytes belong to
// none.
std::vector<StoredTensor> read_safetensors_header(const std::filesystem::path& path, std::int32_t file_index = 0);

// All tensors of a checkpoint directory: model.safetensors, or the shards of model.safetensors.index.json, or the only
// *.safetensors files there. A missing shard, a tensor that its shard lacks and a name in two shards are errors.
StoredTensors open_safetensors(const std::filesystem::path& directory);

}  // namespace crossover
