#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include "engine/checkpoint/config.h"

namespace crossover {
namespace {

constexpr std::int64_t kMaxLayers = 4096;

// Reads "<architecture>.<key>".
class ArchKeys {
 public:
  ArchKeys(const GgufHeader& header, std::string arch) : header_(header), prefix_(std::move(arch) + ".") {}

  [[noreturn]] void refuse(const std::string& what) const {
    throw std::runtime_error(fmt::format("{}: {}", header_.stored.files.front().string(), what));
  }
  std::int64_t integer(const std::string& key, std::optional<std::int64_t> fallback = std::nullopt) const {
    const auto value = header_.integer(prefix_ + key);
    if (!value && !fallback) refuse(fmt::format("metadata {}{} is missing", prefix_, key));
    return value.value_or(fallback.value_or(0));
  }
  // A number for all layers, or a list with the same number (zero where the layer has none) in each.
  std::int64_t per_layer(const std::string& key) const {
    const GgufValue* value = header_.find(prefix_ + key);
    if (!value || !std::holds_alternative<GgufArray>(*value)) return integer(key);
    std::int64_t common = 0;
    for (std::int64_t one : std::get<GgufArray>(*value).integers) {
      if (one != 0 && common != 0 && one != common)
        refuse(fmt::format("metadata {}{} differs between layers", prefix_, key));
      if (one != 0) common = one;
    }
    return common;
  }
  double number(const std::string& key, std::optional<double> fallback = std::nullopt) const {
    const auto value = header_.number(prefix_ + key);
    if (!value && !fallback) refuse(fmt::format("metadata {}{} is missing", prefix_, key));
    return value.value_or(fallback.value_or(0));
  }
  bool boolean(const std::string& key, bool fallback) const {
    return header_.boolean(prefix_ + key).value_or(fallback);
  }
  std::optional<std::string> text(const std::string& key) const { return header_.text(prefix_ + key); }
  const GgufArray* array(const std::string& key) const { return header_.array(prefix_ + key); }

 private:
  const GgufHeader& header_;
  std::string prefix_;
};

Arch parse_arch(const GgufHeader& header, const std::string& text) {
  for (Arch arch : {Arch::kQwen35, Arch::kQwen35Moe, Arch::kQwen3Next})
    if (text == name(arch)) return arch;
  throw std::runtime_error(
      fmt::format("{}: architecture '{}' is not supported; supported are qwen35, qwen35moe and qwen3next",
                  header.stored.files.front().string(), text));
}

void read_layers(const ArchKeys& keys, ModelConfig& config) {
  config.mtp_layers = keys.integer("nextn_predict_layers", 0);
  const std::int64_t blocks = keys.integer("block_count");
  if (blocks < 1 || blocks > kMaxLayers || config.mtp_layers < 0 || config.mtp_layers >= blocks)
    keys.refuse(fmt::format("block_count is {} with {} prediction layers", blocks, config.mtp_layers));
  config.layers = blocks - config.mtp_layers;
  config.full_attention_interval = keys.integer("full_attention_interval", 4);
  if (config.full_attention_interval < 1) keys.refuse("full_attention_interval is not positive");
  const GgufArray* recurrent = keys.array("attention.recurrent_layers");
  if (recurrent && static_cast<std::int64_t>(recurrent->integers.size()) < config.layers)
    keys.refuse(fmt::format("attention.recurrent_layers has {} entries for {} layers", recurrent->integers.size(),
                            config.layers));
  for (std::int64_t i = 0; i < config.layers; ++i)
    config.full_attention.push_back(recurrent ? recurrent->integers[static_cast<std::size_t>(i)] == 0
                                              : (i + 1) % config.full_attention_interval == 0);
}

void read_mixers(const ArchKeys& keys, ModelConfig& config) {
  config.heads = keys.per_layer("attention.head_count");
  config.kv_heads = keys.per_layer("attention.head_count_kv");
  config.head_dim = keys.integer("attention.key_length", config.heads > 0 ? config.hidden / config.heads : 0);
  if (keys.integer("attention.value_length", config.head_dim) != config.head_dim)
    keys.refuse("attention.value_length differs from attention.key_length");
  config.rotary_dim = keys.integer("rope.dimension_count", config.head_dim / 4);
  config.rope_theta = keys.number("rope.freq_base");
  const std::string scaling = keys.text("rope.scaling.type").value_or("none");
  if (scaling != "none") keys.refuse(fmt::format("rope.scaling.type is '{}'; RoPE scaling is not supported", scaling));
  config.rms_eps = static_cast<float>(keys.number("attention.layer_norm_rms_epsilon"));
  config.conv_width = keys.integer("ssm.conv_kernel");
  config.gdn_head_dim = keys.integer("ssm.state_size");
  config.key_heads = keys.integer("ssm.group_count");
  config.value_heads = keys.integer("ssm.time_step_rank");
}

void read_experts(const ArchKeys& keys, ModelConfig& config) {
  if (config.arch == Arch::kQwen35) {
    config.intermediate = keys.per_layer("feed_forward_length");
    return;
  }
  config.experts = keys.integer("expert_count");
  config.experts_per_token = keys.integer("expert_used_count");
  config.expert_width = keys.per_layer("expert_feed_forward_length");
  config.shared_width = keys.integer("expert_shared_feed_forward_length", config.expert_width);
  config.normalize_top_k = keys.boolean("expert_weights_norm", true);
  if (config.experts < 1) keys.refuse(fmt::format("expert_count is {}", config.experts));
}

void read_end_of_text(const GgufHeader& header, ModelConfig& config) {
  const auto add = [&](std::int64_t id) {
    const auto token = static_cast<std::int32_t>(id);
    if (token == id && id >= 0 &&
        std::find(config.end_of_text.begin(), config.end_of_text.end(), token) == config.end_of_text.end())
      config.end_of_text.push_back(token);
  };
  if (const GgufArray* all = header.array("crossover.end_of_text")) {
    for (std::int64_t id : all->integers) add(id);
    return;
  }
  for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"})
    if (const auto id = header.integer(key)) add(*id);
}

}  // namespace

ModelConfig read_config(const GgufHeader& header) {
  const std::string arch = header.text("general.architecture").value_or("");
  ModelConfig config;
  config.arch = parse_arch(header, arch);
  const ArchKeys keys(header, arch);
  config.hidden = keys.integer("embedding_length");
  config.max_positions = keys.integer("context_length", config.max_positions);
  read_layers(keys, config);
  read_mixers(keys, config);
  read_experts(keys, config);
  read_end_of_text(header, config);
  const auto embedding = header.stored.tensors.find("token_embd.weight");
  if (embedding == header.stored.tensors.end() || embedding->second.shape.size() != 2)
    keys.refuse("tensor token_embd.weight is missing or not a matrix");
  config.vocab = embedding->second.shape[0];
  config.tied_embeddings = !header.stored.tensors.contains("output.weight");
  check_config(config, header.stored.files.front().string());
  if (keys.integer("ssm.inner_size", config.value_dim()) != config.value_dim())
    keys.refuse(fmt::format("ssm.inner_size is not ssm.time_step_rank * ssm.state_size = {}", config.value_dim()));
  return config;
}

}  // namespace crossover
