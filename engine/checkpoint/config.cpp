#include "engine/checkpoint/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <stdexcept>

namespace crossover {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::int64_t kMaxDim = std::numeric_limits<std::int32_t>::max();
constexpr std::uint64_t kMaxConfigBytes = 16u << 20;
constexpr int kMaxNesting = 32;

json parse_file(const fs::path& path) {
  const std::string text = read_text_file(path, kMaxConfigBytes);
  check_json_nesting(text, kMaxNesting, path);
  json value = json::parse(text, nullptr, false);
  if (!value.is_object()) throw std::runtime_error(path.string() + " is not a JSON object");
  return value;
}

// One JSON object with its name for messages. A null is an absent field.
class Fields {
 public:
  Fields(const json& object, std::string where) : object_(object), where_(std::move(where)) {}

  [[noreturn]] void refuse(const std::string& what) const { throw std::runtime_error(where_ + ": " + what); }
  [[noreturn]] void unsupported(const char* key, const std::string& supported) const {
    refuse(fmt::format("{} is {}; only {} is supported", key, object_.at(key).dump().substr(0, 80), supported));
  }
  const json* find(const char* key) const {
    const auto at = object_.find(key);
    return at == object_.end() || at->is_null() ? nullptr : &*at;
  }
  std::int64_t integer(const char* key, std::optional<std::int64_t> fallback = std::nullopt) const {
    const json* value = find(key);
    if (!value && fallback) return *fallback;
    if (!value) refuse(fmt::format("it lacks {}", key));
    if (!value->is_number_integer() || *value < 0 || *value > kMaxDim)
      unsupported(key, fmt::format("a whole number from 0 to {}", kMaxDim));
    return value->get<std::int64_t>();
  }
  double number(const char* key, std::optional<double> fallback = std::nullopt) const {
    const json* value = find(key);
    if (!value && fallback) return *fallback;
    if (!value) refuse(fmt::format("it lacks {}", key));
    if (!value->is_number() || !std::isfinite(value->get<double>())) unsupported(key, "a number");
    return value->get<double>();
  }
  bool boolean(const char* key, bool fallback) const {
    const json* value = find(key);
    if (!value) return fallback;
    if (!value->is_boolean()) unsupported(key, "true or false");
    return value->get<bool>();
  }
  std::string text(const char* key, const char* fallback) const {
    const json* value = find(key);
    if (!value) return fallback;
    if (!value->is_string()) unsupported(key, "text");
    return value->get<std::string>();
  }
  // Refuses every value but the supported one.
  void only(const char* key, const json& supported) const {
    const json* value = find(key);
    if (value && *value != supported) unsupported(key, supported.dump());
  }
  const std::string& where() const { return where_; }

 private:
  const json& object_;
  std::string where_;
};

Arch parse_arch(const Fields& top) {
  const std::string type = top.text("model_type", "");
  if (type == "qwen3_5" || type == "qwen3_5_text") return Arch::kQwen35;
  if (type == "qwen3_5_moe" || type == "qwen3_5_moe_text") return Arch::kQwen35Moe;
  if (type == "qwen3_next") return Arch::kQwen3Next;
  top.refuse(fmt::format("model_type '{}' is not supported; supported are qwen3_5, qwen3_5_moe and qwen3_next", type));
}

void refuse_unsupported(const Fields& text) {
  text.only("attention_bias", false);
  text.only("attn_output_gate", true);
  text.only("hidden_act", "silu");
  text.only("decoder_sparse_step", 1);
  text.only("mlp_only_layers", json::array());
  text.only("mtp_use_dedicated_embeddings", false);
  text.only("use_sliding_window", false);
  const std::string gate = text.text("output_gate_type", "silu");
  if (gate != "silu" && gate != "swish") text.unsupported("output_gate_type", "\"silu\" or \"swish\"");
  if (text.find("quantization_config"))
    text.refuse("quantization_config: releases with quantized weights are not supported; use the bf16 release");
}

void read_rope(const Fields& text, ModelConfig& config) {
  static const json kEmpty = json::object();
  const json* found = text.find("rope_parameters");
  if (found && !found->is_object()) text.unsupported("rope_parameters", "an object");
  const Fields rope(found ? *found : kEmpty, text.where() + " rope_parameters");
  rope.only("rope_type", "default");
  rope.only("type", "default");
  if (const json* scaling = text.find("rope_scaling")) {
    if (!scaling->is_object()) text.unsupported("rope_scaling", "null");
    const Fields old(*scaling, text.where() + " rope_scaling");
    if (old.text("rope_type", "default") != "default" || old.text("type", "default") != "default" || old.find("factor"))
      text.unsupported("rope_scaling", "null (no scaling)");
  }
  config.rope_theta = rope.find("rope_theta") ? rope.number("rope_theta") : text.number("rope_theta");
  const double part = rope.find("partial_rotary_factor") ? rope.number("partial_rotary_factor")
                                                         : text.number("partial_rotary_factor", 0.25);
  if (!(part > 0 && part <= 1)) text.refuse(fmt::format("partial_rotary_factor is {}; it lies in (0, 1]", part));
  config.rotary_dim = static_cast<std::int64_t>(static_cast<double>(config.head_dim) * part);
}

void read_layer_types(const Fields& text, ModelConfig& config) {
  if (config.layers < 1 || config.layers > 4096) text.unsupported("num_hidden_layers", "1 to 4096");
  config.full_attention_interval = text.integer("full_attention_interval", 4);
  if (config.full_attention_interval < 1) text.unsupported("full_attention_interval", "a positive number");
  const json* types = text.find("layer_types");
  if (!types) {
    for (std::int64_t i = 0; i < config.layers; ++i)
      config.full_attention.push_back((i + 1) % config.full_attention_interval == 0);
    return;
  }
  if (!types->is_array() || static_cast<std::int64_t>(types->size()) != config.layers)
    text.refuse(fmt::format("layer_types has {} entries for {} layers", types->size(), config.layers));
  for (const json& type : *types) {
    if (type != "linear_attention" && type != "full_attention")
      text.refuse(fmt::format("layer_types holds {}; only linear_attention and full_attention are supported",
                              type.dump().substr(0, 80)));
    config.full_attention.push_back(type == "full_attention");
  }
  // The interval that says the same, for readers that know no list: the place of the first full-attention layer.
  const auto first = std::find(config.full_attention.begin(), config.full_attention.end(), true);
  config.full_attention_interval =
      first == config.full_attention.end() ? config.layers + 1 : first - config.full_attention.begin() + 1;
}

void read_ffn(const Fields& text, ModelConfig& config) {
  if (config.arch == Arch::kQwen35) {
    config.intermediate = text.integer("intermediate_size");
    return;
  }
  config.experts = text.integer("num_experts");
  config.experts_per_token = text.integer("num_experts_per_tok");
  config.expert_width = text.integer("moe_intermediate_size");
  config.shared_width = text.integer("shared_expert_intermediate_size");
  if (config.experts == 0) text.unsupported("num_experts", "a positive number");
  if (config.arch == Arch::kQwen3Next) config.normalize_top_k = text.boolean("norm_topk_prob", true);
}

void add_end_of_text(const Fields& fields, ModelConfig& config) {
  const json* value = fields.find("eos_token_id");
  if (!value) return;
  for (const json& id : value->is_array() ? *value : json::array({*value})) {
    if (!id.is_number_integer() || id < 0 || id > kMaxDim) fields.unsupported("eos_token_id", "token ids");
    const auto token = id.get<std::int32_t>();
    if (std::find(config.end_of_text.begin(), config.end_of_text.end(), token) == config.end_of_text.end())
      config.end_of_text.push_back(token);
  }
}

void read_sizes(const Fields& text, ModelConfig& config) {
  config.hidden = text.integer("hidden_size");
  config.layers = text.integer("num_hidden_layers");
  config.vocab = text.integer("vocab_size");
  config.heads = text.integer("num_attention_heads");
  config.kv_heads = text.integer("num_key_value_heads");
  config.head_dim = text.integer("head_dim", config.heads > 0 ? config.hidden / config.heads : 0);
  config.key_heads = text.integer("linear_num_key_heads");
  config.value_heads = text.integer("linear_num_value_heads");
  config.gdn_head_dim = text.integer("linear_key_head_dim", 128);
  text.only("linear_value_head_dim", config.gdn_head_dim);
  config.conv_width = text.integer("linear_conv_kernel_dim", 4);
  config.rms_eps = static_cast<float>(text.number("rms_norm_eps", 1e-6));
  config.max_positions = text.integer("max_position_embeddings", config.max_positions);
}

}  // namespace

void check_config(const ModelConfig& c, const std::string& where) {
  const auto refuse = [&](const std::string& what) { throw std::runtime_error(where + ": " + what); };
  const auto fixed = [&](const char* what, std::int64_t found, std::int64_t supported) {
    if (found != supported) refuse(fmt::format("{} is {}; only {} is supported", what, found, supported));
  };
  const auto positive = [&](const char* what, std::int64_t found) {
    if (found < 1 || found > kMaxDim) refuse(fmt::format("{} is {}; it must be positive", what, found));
  };
  const auto multiple = [&](const char* what, std::int64_t found, const char* of, std::int64_t divisor) {
    if (found % divisor != 0) refuse(fmt::format("{} ({}) is not a multiple of {} ({})", what, found, of, divisor));
  };
  positive("hidden size", c.hidden);
  positive("number of layers", c.layers);
  positive("vocabulary size", c.vocab);
  positive("number of attention heads", c.heads);
  positive("number of KV heads", c.kv_heads);
  positive("number of GDN key heads", c.key_heads);
  positive("number of GDN value heads", c.value_heads);
  positive("maximum of positions", c.max_positions);
  fixed("attention head dimension", c.head_dim, 256);
  fixed("GDN head dimension", c.gdn_head_dim, 128);
  fixed("convolution width", c.conv_width, 4);
  multiple("number of attention heads", c.heads, "number of KV heads", c.kv_heads);
  multiple("number of GDN value heads", c.value_heads, "number of GDN key heads", c.key_heads);
  if (c.rotary_dim < 2 || c.rotary_dim > c.head_dim || c.rotary_dim % 2 != 0)
    refuse(fmt::format("RoPE turns {} of {} dimensions", c.rotary_dim, c.head_dim));
  if (!(c.rope_theta > 0) || !(c.rms_eps > 0) || !std::isfinite(c.rope_theta))
    refuse("rope_theta and the norm's epsilon must be positive");
  if (std::max({c.heads, c.kv_heads, c.key_heads, c.value_heads}) > 65536) refuse("more than 65536 heads");
  if (!c.moe()) return positive("dense feed-forward width", c.intermediate);
  positive("expert width", c.expert_width);
  positive("shared expert width", c.shared_width);
  positive("number of experts per token", c.experts_per_token);
  if (c.experts > 65536) refuse("more than 65536 experts");
  if (c.experts_per_token > c.experts)
    refuse(fmt::format("{} experts per token of {} experts", c.experts_per_token, c.experts));
}

ModelConfig read_config(const fs::path& directory) {
  const fs::path path = directory / "config.json";
  const json root = parse_file(path);
  const Fields top(root, path.string());
  const json* nested = top.find("text_config");
  if (nested && !nested->is_object()) top.unsupported("text_config", "an object");
  const Fields text(nested ? *nested : root, path.string() + (nested ? " text_config" : ""));
  ModelConfig config;
  config.arch = parse_arch(top.find("model_type") ? top : text);
  refuse_unsupported(text);
  if (top.find("quantization_config")) refuse_unsupported(top);
  read_sizes(text, config);
  read_rope(text, config);
  read_layer_types(text, config);
  read_ffn(text, config);
  config.tied_embeddings = top.boolean("tie_word_embeddings", false) || text.boolean("tie_word_embeddings", false);
  const fs::path generation = directory / "generation_config.json";
  if (fs::exists(generation)) {
    const json object = parse_file(generation);
    add_end_of_text(Fields(object, generation.string()), config);
  }
  add_end_of_text(text, config);
  add_end_of_text(top, config);
  check_config(config, path.string());
  return config;
}

}  // namespace crossover
