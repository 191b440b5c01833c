#include "engine/checkpoint/source.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include "engine/checkpoint/config.h"
#include "engine/checkpoint/gguf.h"
#include "engine/checkpoint/names.h"
#include "engine/checkpoint/safetensors.h"

namespace crossover {
namespace {

namespace fs = std::filesystem;

void take_files(Source& source, StoredTensors& stored, const fs::path& directory) {
  source.files = std::move(stored.files);
  source.file_bytes = std::move(stored.file_bytes);
  if (const fs::path tokenizer = directory / "tokenizer.json"; fs::is_regular_file(tokenizer))
    source.tokenizer = tokenizer;
}

}  // namespace

const SourceTensor* Source::find(std::string_view name) const {
  const auto at = std::find_if(tensors.begin(), tensors.end(), [&](const SourceTensor& t) { return t.name == name; });
  return at == tensors.end() ? nullptr : &*at;
}

Source open_checkpoint(const fs::path& path) {
  Source source;
  if (fs::is_directory(path)) {
    if (!fs::exists(path / "config.json"))
      throw std::runtime_error(fmt::format(
          "{} has no config.json; name a Hugging Face checkpoint directory or a .gguf file", path.string()));
    source.config = read_config(path);
    StoredTensors stored = open_safetensors(path);
    source.tensors = map_hf_tensors(stored, source.config);
    take_files(source, stored, path);
    return source;
  }
  if (!fs::exists(path)) throw std::runtime_error(fmt::format("model {} does not exist", path.string()));
  if (path.extension() != ".gguf")
    throw std::runtime_error(fmt::format("model {} is neither a directory nor a .gguf file", path.string()));
  GgufHeader header = read_gguf_header(path);
  source.gguf = true;
  source.config = read_config(header);
  source.tensors = map_gguf_tensors(header.stored, source.config);
  take_files(source, header.stored, path.parent_path());
  return source;
}

DType target_type(const SourceTensor& tensor, DType weights) {
  const auto contains = [&](std::string_view part) { return tensor.name.find(part) != std::string::npos; };
  const bool vector = tensor.shape[0] == 1 && tensor.shape[1] == 1;
  if (vector || contains("ssm_conv1d.") || contains("ffn_gate_inp.") || contains("ffn_gate_inp_shexp.") ||
      contains("ssm_alpha.") || contains("ssm_beta."))
    return DType::kF32;
  for (DType type : {weights, DType::kQ8_0})
    if (tensor.shape[2] % info(type).block_values == 0) return type;
  return DType::kF32;
}

}  // namespace crossover
