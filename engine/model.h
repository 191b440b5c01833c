// The map of the engine: the configuration and every weight of one rank with its shape. Letters: H hidden, V vocabulary, nh/nkv
// attention heads, hd = 256, nk/nv GDN key and value heads, D = 128, KD = nk*D, VD = nv*D, C = 2*KD + VD conv channels, I dense
// width, E experts, Im expert width, Is shared expert width. On a rank the sharded ones are the rank's part (load/shard_plan.h).
// One convention inside, GGUF's: norms carry the folded 1 + w, ssm_a = -exp(A_log), V heads tiled (grouped for qwen3next).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/ops.h"
#include "kernels/tensor.h"

namespace crossover {

enum class Arch : std::uint8_t { kQwen35, kQwen35Moe, kQwen3Next };
const char* name(Arch arch);  // GGUF architecture: "qwen35", "qwen35moe", "qwen3next"

struct ModelConfig {
  Arch arch = Arch::kQwen35;
  std::int64_t hidden = 0, layers = 0, vocab = 0;
  std::vector<bool> full_attention;  // [layers]; false = GDN
  std::int64_t heads = 0, kv_heads = 0, head_dim = 256, rotary_dim = 64;
  std::int64_t key_heads = 0, value_heads = 0, gdn_head_dim = 128, conv_width = 4;
  std::int64_t intermediate = 0;                                     // dense width, 0 for MoE
  std::int64_t experts = 0, experts_per_token = 0, expert_width = 0, shared_width = 0;
  bool normalize_top_k = true;
  bool tied_embeddings = false;
  std::int64_t mtp_layers = 0;       // recognised and written, not run
  double rope_theta = 1e7;
  float rms_eps = 1e-6f;
  std::int64_t max_positions = 262144;
  std::int64_t full_attention_interval = 4;
  std::vector<std::int32_t> end_of_text;  // config and generation_config

  bool moe() const { return experts > 0; }
  HeadOrder head_order() const { return arch == Arch::kQwen3Next ? HeadOrder::kGrouped : HeadOrder::kTiled; }
  std::int64_t key_dim() const { return key_heads * gdn_head_dim; }
  std::int64_t value_dim() const { return value_heads * gdn_head_dim; }
  std::int64_t conv_channels() const { return 2 * key_dim() + value_dim(); }
};

struct GdnWeights {
  Tensor qkv;      // [C, H]: q, k, v rows
  Tensor z;        // [VD, H]
  Tensor a, b;     // f32 [nv, H]
  Tensor conv;     // f32 [C, 4], tap 3 = current token
  Tensor ssm_a;    // f32 [nv], -exp(A_log)
  Tensor dt_bias;  // f32 [nv]
  Tensor norm;     // f32 [D], plain weight
  Tensor out;      // [H, VD]
};

struct AttentionWeights {
  Tensor q;               // [nh * 2*hd, H]: per head hd query rows, then hd gate rows
  Tensor k, v;            // [nkv*hd, H]
  Tensor out;             // [H, nh*hd]
  Tensor q_norm, k_norm;  // f32 [hd]
};

struct MlpWeights { Tensor gate, up /* [I, H] */, down /* [H, I] */; };

struct MoeWeights {
  Tensor router;       // f32 [E, H]
  Tensor gate, up;     // [E, Im, H]
  Tensor down;         // [E, H, Im]
  MlpWeights shared;   // width Is
  Tensor shared_gate;  // f32 [1, H]
};

struct LayerWeights {
  bool full_attention = false;
  Tensor input_norm, post_norm;  // f32 [H]
  GdnWeights gdn;                // when !full_attention
  AttentionWeights attention;    // when full_attention
  MlpWeights mlp;                // dense
  MoeWeights moe;                // MoE
};

struct Weights {
  Tensor embedding;               // [V part, H]
  std::int64_t first_vocab_row = 0;  // of this rank's part of the embedding
  Tensor output_norm;             // f32 [H]
  Tensor head;                    // [V part, H], see RankShape; the embedding itself when tied and dealt like it
  std::vector<LayerWeights> layers;
};

}  // namespace crossover
