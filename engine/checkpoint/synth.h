// Synthetic checkpoints: Hugging Face folders with the tensor names and shapes of real models and random weights, the
// same bytes on every machine for the same options.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>

#include "engine/model.h"
#include "kernels/tensor.h"

namespace crossover {

// Changes whenever the same options give other bytes; part of the key of a cached checkpoint.
inline constexpr int kSynthVersion = 1;

struct SynthOptions {
  std::string preset;                                  // one of synth_presets()
  std::optional<std::int64_t> layers, vocab, experts;  // instead of the preset's; layers in whole groups of 4
  std::uint64_t seed = 1;
  DType dtype = DType::kBF16;  // or kF32
  int threads = 0;             // 0: all cores; changes no byte

  // Variants of the format that released models show; the tests use them.
  std::optional<bool> tied;  // tied embeddings: no lm_head.weight
  std::optional<std::int64_t> key_heads, value_heads, heads, kv_heads;
  bool qwen3_next = false;                        // of a MoE preset: model_type, fused projections, flat config
  bool per_expert_names = false;                  // experts.{e}.gate_proj.weight instead of packed experts
  bool f32_decay = false;                         // A_log and linear_attn.norm in F32
  bool mtp = false;                               // with the tensors of a prediction layer
  std::uint64_t max_shard_bytes = 5'000'000'000;  // a larger model is split, with an index
};

std::span<const char* const> synth_presets();

// std::invalid_argument when the preset is unknown (the nearest is suggested) or an option is impossible.
ModelConfig synth_config(const SynthOptions& options);

// Writes the checkpoint into a temporary folder beside `directory` and renames it when it is complete and on disk.
// `directory` must not exist or be empty. std::runtime_error when there is no room. `progress` is called now and then
// by one thread.
void write_synth(const SynthOptions& options, const std::filesystem::path& directory,
                 const std::function<void(std::uint64_t done_bytes, std::uint64_t total_bytes)>& progress = {});

}  // namespace crossover
