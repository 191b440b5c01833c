#include "engine/checkpoint/synth_presets.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "engine/checkpoint/config.h"
#include "engine/knobs.h"
#include "engine/text/byte_alphabet.h"

namespace crossover {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr std::array<const char*, 5> kPresets{"tiny-dense", "tiny-moe", "qwen3.5-0.8b", "qwen3.6-27b",
                                              "qwen3.6-35b-a3b"};
constexpr std::int64_t kMaxLayers = 256, kMaxVocab = 1 << 24, kMaxExperts = 4096;

// The split expression of Qwen3.5 and 3.6 (model-spec section 1.5).
constexpr const char* kSplit =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

struct Preset {
  std::int64_t hidden, layers, vocab, heads, kv_heads, key_heads, value_heads, intermediate, experts, per_token,
      expert_width, shared_width;
  bool tied;
};

// Released models: their config.json (model-spec section 1.3). Tiny ones: real head dimensions, everything else small.
constexpr std::array<Preset, 5> kSizes{{{256, 4, 1024, 4, 2, 2, 6, 512, 0, 0, 0, 0, false},
                                        {256, 4, 1024, 4, 2, 2, 4, 0, 16, 4, 256, 256, false},
                                        {1024, 24, 248320, 8, 2, 16, 16, 3584, 0, 0, 0, 0, true},
                                        {5120, 64, 248320, 24, 4, 16, 48, 17408, 0, 0, 0, 0, false},
                                        {2048, 40, 248320, 16, 2, 16, 32, 0, 256, 8, 512, 512, false}}};

const Preset& find_preset(const std::string& name) {
  const auto at = std::find(kPresets.begin(), kPresets.end(), name);
  if (at != kPresets.end()) return kSizes[static_cast<std::size_t>(at - kPresets.begin())];
  const std::string near = nearest(name, {kPresets.begin(), kPresets.end()});
  throw std::invalid_argument(fmt::format("there is no preset '{}'{}; presets are {}", name,
                                          near.empty() ? "" : "; did you mean " + near + "?",
                                          fmt::join(kPresets, ", ")));
}

void within(const char* what, std::int64_t value, std::int64_t low, std::int64_t high) {
  if (value < low || value > high)
    throw std::invalid_argument(fmt::format("{} is {}; it must be {} to {}", what, value, low, high));
}

ordered_json text_fields(const SynthOptions& options, const ModelConfig& c) {
  ordered_json text;
  const bool next = c.arch == Arch::kQwen3Next;
  text["model_type"] = next ? "qwen3_next" : c.moe() ? "qwen3_5_moe_text" : "qwen3_5_text";
  text["vocab_size"] = c.vocab;
  text["hidden_size"] = c.hidden;
  text["num_hidden_layers"] = c.layers;
  text["num_attention_heads"] = c.heads;
  text["num_key_value_heads"] = c.kv_heads;
  text["head_dim"] = c.head_dim;
  text["attention_bias"] = false;
  text["hidden_act"] = "silu";
  text["rms_norm_eps"] = 1e-6;
  text["max_position_embeddings"] = c.max_positions;
  text["linear_conv_kernel_dim"] = c.conv_width;
  text["linear_key_head_dim"] = c.gdn_head_dim;
  text["linear_value_head_dim"] = c.gdn_head_dim;
  text["linear_num_key_heads"] = c.key_heads;
  text["linear_num_value_heads"] = c.value_heads;
  if (next) {
    text["full_attention_interval"] = c.full_attention_interval;
    text["rope_theta"] = c.rope_theta;
    text["partial_rotary_factor"] = 0.25;
    text["rope_scaling"] = nullptr;
    text["norm_topk_prob"] = true;
    text["decoder_sparse_step"] = 1;
    text["mlp_only_layers"] = ordered_json::array();
    text["intermediate_size"] = 2 * c.hidden;
  } else {
    text["attn_output_gate"] = true;
    text["layer_types"] = ordered_json::array();
    for (bool full : c.full_attention) text["layer_types"].push_back(full ? "full_attention" : "linear_attention");
    text["rope_parameters"] = {{"rope_type", "default"},
                               {"rope_theta", c.rope_theta},
                               {"partial_rotary_factor", 0.25},
                               {"mrope_section", {11, 11, 10}},
                               {"mrope_interleaved", true}};
    text["mtp_num_hidden_layers"] = c.mtp_layers;
    text["mtp_use_dedicated_embeddings"] = false;
    text["mamba_ssm_dtype"] = "float32";
  }
  if (c.moe()) {
    text["num_experts"] = c.experts;
    text["num_experts_per_tok"] = c.experts_per_token;
    text["moe_intermediate_size"] = c.expert_width;
    text["shared_expert_intermediate_size"] = c.shared_width;
  } else {
    text["intermediate_size"] = c.intermediate;
  }
  text["tie_word_embeddings"] = c.tied_embeddings;
  text["dtype"] = options.dtype == DType::kF32 ? "float32" : "bfloat16";
  text["bos_token_id"] = nullptr;
  text["pad_token_id"] = nullptr;
  if (c.end_of_text.empty())
    text["eos_token_id"] = nullptr;
  else
    text["eos_token_id"] = c.end_of_text.back();
  return text;
}

}  // namespace

std::span<const char* const> synth_presets() { return kPresets; }

ModelConfig synth_config(const SynthOptions& o) {
  const Preset& p = find_preset(o.preset);
  const bool moe = p.experts > 0;
  ModelConfig c;
  c.arch = !moe ? Arch::kQwen35 : o.qwen3_next ? Arch::kQwen3Next : Arch::kQwen35Moe;
  if (!moe && (o.qwen3_next || o.per_expert_names || o.experts))
    throw std::invalid_argument(
        fmt::format("preset {} is dense: it has no experts; take tiny-moe or qwen3.6-35b-a3b", o.preset));
  if (o.dtype != DType::kBF16 && o.dtype != DType::kF32)
    throw std::invalid_argument(fmt::format("a synthetic checkpoint is bf16 or f32, not {}", name(o.dtype)));
  c.hidden = p.hidden;
  c.layers = o.layers.value_or(p.layers);
  c.vocab = o.vocab.value_or(p.vocab);
  within("the number of layers", c.layers, 4, kMaxLayers);
  within("the vocabulary", c.vocab, 2, kMaxVocab);
  if (c.layers % 4 != 0)
    throw std::invalid_argument(
        fmt::format("{} layers are not whole groups of 4 (three GDN, one full attention)", c.layers));
  for (std::int64_t i = 0; i < c.layers; ++i) c.full_attention.push_back(i % 4 == 3);
  c.heads = o.heads.value_or(p.heads);
  c.kv_heads = o.kv_heads.value_or(p.kv_heads);
  c.key_heads = o.key_heads.value_or(p.key_heads);
  c.value_heads = o.value_heads.value_or(p.value_heads);
  c.intermediate = p.intermediate;
  c.experts = o.experts.value_or(p.experts);
  c.experts_per_token = p.per_token;
  if (moe) within("the number of experts", c.experts, p.per_token, kMaxExperts);
  c.expert_width = p.expert_width;
  c.shared_width = p.shared_width;
  c.tied_embeddings = o.tied.value_or(p.tied);
  c.mtp_layers = o.mtp ? 1 : 0;
  // The released models' ids: end of text, and the end of a chat turn. A cut vocabulary has neither.
  if (c.vocab > 248046) c.end_of_text = {248046, 248044};
  try {
    check_config(c, "preset " + o.preset);
  } catch (const std::runtime_error& error) {
    throw std::invalid_argument(error.what());
  }
  return c;
}

std::string synth_config_json(const SynthOptions& options, const ModelConfig& c) {
  ordered_json text = text_fields(options, c);
  ordered_json root;
  if (c.arch == Arch::kQwen3Next) {
    root["architectures"] = {"Qwen3NextForCausalLM"};
    root.update(text);
    return root.dump(2) + "\n";
  }
  root["architectures"] = {c.moe() ? "Qwen3_5MoeForConditionalGeneration" : "Qwen3_5ForConditionalGeneration"};
  root["model_type"] = c.moe() ? "qwen3_5_moe" : "qwen3_5";
  root["tie_word_embeddings"] = c.tied_embeddings;
  root["text_config"] = std::move(text);
  return root.dump(2) + "\n";
}

std::string synth_generation_config_json(const ModelConfig& c) {
  ordered_json root = ordered_json::object();
  if (!c.end_of_text.empty()) root["eos_token_id"] = c.end_of_text;
  root["do_sample"] = false;
  return root.dump(2) + "\n";
}

std::string synth_tokenizer_json(std::int64_t vocab) {
  const std::array<std::string, 256> bytes = byte_alphabet();
  json tokens = json::object();  // sorted: an ordered object of so many keys takes minutes
  for (std::int64_t id = 0; id < vocab; ++id)
    tokens[id < 256 ? bytes[static_cast<std::size_t>(id)] : fmt::format("{}t{}", bytes[' '], id)] = id;
  json root;
  root["version"] = "1.0";
  root["added_tokens"] = json::array();
  root["normalizer"] = {{"type", "NFC"}};
  const json split{{"type", "Split"}, {"pattern", {{"Regex", kSplit}}}, {"behavior", "Isolated"}, {"invert", false}};
  const json byte_level{
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", false}, {"use_regex", false}};
  root["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", json::array({split, byte_level})}};
  root["post_processor"] = nullptr;
  root["decoder"] = byte_level;
  root["model"] = {{"type", "BPE"}, {"vocab", std::move(tokens)}, {"merges", json::array()}};
  return root.dump() + "\n";
}

}  // namespace crossover
