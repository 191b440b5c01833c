#include "engine/checkpoint/gguf_metadata.h"

#include <fmt/format.h>

#include <cstring>
#include <fstream>
#include <limits>
#include <stdexcept>

namespace crossover {
namespace {

constexpr std::int64_t kQuantizationVersion = 2;  // ggml's block layouts since 2023

// llama.cpp's number for "most tensors are of this type".
std::int64_t file_type(DType type) {
  switch (type) {
    case DType::kF32:
      return 0;
    case DType::kF16:
      return 1;
    case DType::kQ4_0:
      return 2;
    case DType::kQ4_1:
      return 3;
    case DType::kQ8_0:
      return 7;
    case DType::kQ5_0:
      return 8;
    case DType::kQ5_1:
      return 9;
    case DType::kQ6_K:
      return 18;
    case DType::kBF16:
      return 32;
  }
  return 0;
}

void add_architecture(GgufMetadata& metadata, const ModelConfig& c) {
  const std::string arch = std::string(name(c.arch)) + ".";
  metadata.add_u32(arch + "block_count", c.layers + c.mtp_layers);
  metadata.add_u32(arch + "context_length", c.max_positions);
  metadata.add_u32(arch + "embedding_length", c.hidden);
  if (!c.moe()) metadata.add_u32(arch + "feed_forward_length", c.intermediate);
  metadata.add_u32(arch + "attention.head_count", c.heads);
  metadata.add_u32(arch + "attention.head_count_kv", c.kv_heads);
  metadata.add_u32(arch + "attention.key_length", c.head_dim);
  metadata.add_u32(arch + "attention.value_length", c.head_dim);
  metadata.add_f32(arch + "attention.layer_norm_rms_epsilon", c.rms_eps);
  metadata.add_u32(arch + "rope.dimension_count", c.rotary_dim);
  metadata.add_f32(arch + "rope.freq_base", static_cast<float>(c.rope_theta));
  if (c.arch != Arch::kQwen3Next) {
    // Temporal, height and width shares of the rotated pairs: [11, 11, 10] of 32, as in every released model.
    const auto pairs = static_cast<std::int32_t>(c.rotary_dim / 2);
    const std::int32_t third = (pairs + 2) / 3;
    metadata.add_i32s(arch + "rope.dimension_sections", std::vector<std::int32_t>{third, third, pairs - 2 * third, 0});
  }
  metadata.add_u32(arch + "ssm.conv_kernel", c.conv_width);
  metadata.add_u32(arch + "ssm.state_size", c.gdn_head_dim);
  metadata.add_u32(arch + "ssm.group_count", c.key_heads);
  metadata.add_u32(arch + "ssm.time_step_rank", c.value_heads);
  metadata.add_u32(arch + "ssm.inner_size", c.value_dim());
  metadata.add_u32(arch + "full_attention_interval", c.full_attention_interval);
  std::vector<bool> recurrent;
  for (bool full : c.full_attention) recurrent.push_back(!full);
  recurrent.resize(static_cast<std::size_t>(c.layers + c.mtp_layers), false);
  metadata.add_bools(arch + "attention.recurrent_layers", recurrent);
  if (c.mtp_layers > 0) metadata.add_u32(arch + "nextn_predict_layers", c.mtp_layers);
  metadata.add_u32(arch + "vocab_size", c.vocab);
  if (!c.moe()) return;
  metadata.add_u32(arch + "expert_count", c.experts);
  metadata.add_u32(arch + "expert_used_count", c.experts_per_token);
  metadata.add_u32(arch + "expert_feed_forward_length", c.expert_width);
  metadata.add_u32(arch + "expert_shared_feed_forward_length", c.shared_width);
  metadata.add_bool(arch + "expert_weights_norm", c.normalize_top_k);
}

bool starts_with_any(std::string_view key, std::initializer_list<std::string_view> prefixes) {
  for (std::string_view prefix : prefixes)
    if (key.starts_with(prefix)) return true;
  return false;
}

// Descriptions and tokenizer of a GGUF source pass through byte for byte.
void copy_entries(GgufMetadata& metadata, const std::filesystem::path& path) {
  const GgufHeader header = read_gguf_header(path);
  std::ifstream in(path, std::ios::binary);
  for (const auto& [key, range] : header.entries) {
    if (!starts_with_any(key, {"general.", "tokenizer.", "crossover.tokenizer."})) continue;
    if (starts_with_any(
            key, {"general.architecture", "general.alignment", "general.file_type", "general.quantization_version"}))
      continue;
    std::string bytes(range.bytes, '\0');
    in.seekg(static_cast<std::streamoff>(range.offset));
    if (!in.read(bytes.data(), static_cast<std::streamsize>(bytes.size())))
      throw std::runtime_error(fmt::format("cannot read the metadata of {}", path.string()));
    metadata.add_entry(bytes);
  }
}

}  // namespace

template <class T>
void GgufMetadata::raw(T value) {
  char buffer[sizeof value];
  std::memcpy(buffer, &value, sizeof value);
  bytes_.append(buffer, sizeof value);
}

void GgufMetadata::text(std::string_view value) {
  raw(static_cast<std::uint64_t>(value.size()));
  bytes_.append(value);
}

void GgufMetadata::start(std::string_view key, GgufType type) {
  text(key);
  raw(static_cast<std::uint32_t>(type));
  ++count_;
}

void GgufMetadata::start_array(std::string_view key, GgufType type, std::uint64_t count) {
  start(key, GgufType::kArray);
  raw(static_cast<std::uint32_t>(type));
  raw(count);
}

void GgufMetadata::add_u32(std::string_view key, std::int64_t value) {
  if (value < 0 || value > std::numeric_limits<std::uint32_t>::max())
    throw std::invalid_argument(fmt::format("metadata {} cannot hold {}", key, value));
  start(key, GgufType::kU32);
  raw(static_cast<std::uint32_t>(value));
}

void GgufMetadata::add_f32(std::string_view key, float value) {
  start(key, GgufType::kF32);
  raw(value);
}

void GgufMetadata::add_bool(std::string_view key, bool value) {
  start(key, GgufType::kBool);
  raw(static_cast<std::uint8_t>(value));
}

void GgufMetadata::add_string(std::string_view key, std::string_view value) {
  start(key, GgufType::kString);
  text(value);
}

void GgufMetadata::add_i32s(std::string_view key, std::span<const std::int32_t> values) {
  start_array(key, GgufType::kI32, values.size());
  for (std::int32_t value : values) raw(value);
}

void GgufMetadata::add_bools(std::string_view key, const std::vector<bool>& values) {
  start_array(key, GgufType::kBool, values.size());
  for (bool value : values) raw(static_cast<std::uint8_t>(value));
}

void GgufMetadata::add_strings(std::string_view key, std::span<const std::string> values) {
  start_array(key, GgufType::kString, values.size());
  for (const std::string& value : values) text(value);
}

std::size_t GgufMetadata::add_i64(std::string_view key, std::int64_t value) {
  start(key, GgufType::kI64);
  raw(value);
  return bytes_.size() - sizeof value;
}

std::size_t GgufMetadata::add_i64s(std::string_view key, std::span<const std::int64_t> values) {
  start_array(key, GgufType::kI64, values.size());
  const std::size_t at = bytes_.size();
  for (std::int64_t value : values) raw(value);
  return at;
}

void GgufMetadata::add_entry(std::string_view bytes) {
  bytes_.append(bytes);
  ++count_;
}

GgufMetadata gguf_metadata(const Source& source, DType main_type) {
  const ModelConfig& c = source.config;
  GgufMetadata metadata;
  metadata.add_string("general.architecture", name(c.arch));
  metadata.add_u32("general.file_type", file_type(main_type));
  metadata.add_u32("general.quantization_version", kQuantizationVersion);
  if (!source.gguf) {
    metadata.add_string("general.type", "model");
    metadata.add_string("general.name", source.files.front().parent_path().filename().string());
  }
  add_architecture(metadata, c);
  if (source.gguf) {
    copy_entries(metadata, source.files.front());
  } else if (!source.tokenizer.empty()) {
    add_tokenizer(metadata, source);
  } else {
    metadata.add_string("tokenizer.ggml.model", "none");
  }
  // All end-of-text ids: tokenizer.ggml.* has room for one of each kind only.
  if (!c.end_of_text.empty()) metadata.add_i32s("crossover.end_of_text", c.end_of_text);
  return metadata;
}

}  // namespace crossover
