#include "engine/checkpoint/tensor_slots.h"

#include <fmt/format.h>

namespace crossover {
namespace {

// Collects the slots of one decoder layer: names are `blk` + suffix and `hf` + suffix.
class LayerSlots {
 public:
  LayerSlots(const ModelConfig& config, std::vector<TensorSlot>& slots, std::int64_t block, std::string hf)
      : c_(config), slots_(slots), blk_(fmt::format("blk.{}.", block)), hf_(std::move(hf)) {}

  void norm(const char* gguf, const char* hf, std::int64_t n) {
    vector(gguf, hf, n, SlotLayout::kWhole, Transform::kAddOne);
  }

  void attention() {
    const std::int64_t wide = c_.heads * c_.head_dim, narrow = c_.kv_heads * c_.head_dim;
    matrix("attn_q.weight", "self_attn.q_proj.weight", 2 * wide, c_.hidden);
    matrix("attn_k.weight", "self_attn.k_proj.weight", narrow, c_.hidden);
    matrix("attn_v.weight", "self_attn.v_proj.weight", narrow, c_.hidden);
    matrix("attn_output.weight", "self_attn.o_proj.weight", c_.hidden, wide);
    norm("attn_q_norm.weight", "self_attn.q_norm.weight", c_.head_dim);
    norm("attn_k_norm.weight", "self_attn.k_norm.weight", c_.head_dim);
  }

  void gdn() {
    if (c_.arch == Arch::kQwen3Next)
      fused_projections();
    else
      split_projections();
    const std::int64_t channels = c_.conv_channels();
    add("ssm_conv1d.weight", "linear_attn.conv1d.weight", {1, channels, c_.conv_width}, {channels, 1, c_.conv_width},
        SlotLayout::kQkv);
    vector("ssm_a", "linear_attn.A_log", c_.value_heads, SlotLayout::kHeadValue, Transform::kNegExp);
    vector("ssm_dt.bias", "linear_attn.dt_bias", c_.value_heads, SlotLayout::kHeadValue);
    vector("ssm_norm.weight", "linear_attn.norm.weight", c_.gdn_head_dim);
    matrix("ssm_out.weight", "linear_attn.out_proj.weight", c_.hidden, c_.value_dim(), SlotLayout::kHeadColumns);
  }

  void feed_forward() {
    if (c_.moe()) return experts();
    matrix("ffn_gate.weight", "mlp.gate_proj.weight", c_.intermediate, c_.hidden);
    matrix("ffn_up.weight", "mlp.up_proj.weight", c_.intermediate, c_.hidden);
    matrix("ffn_down.weight", "mlp.down_proj.weight", c_.hidden, c_.intermediate);
  }

  // Tensors of the prediction head that are not part of its decoder layer; `mtp` is their prefix.
  void prediction(const std::string& mtp) {
    const std::int64_t h = c_.hidden;
    hf_ = mtp;
    matrix("nextn.eh_proj.weight", "fc.weight", h, 2 * h);
    norm("nextn.enorm.weight", "pre_fc_norm_embedding.weight", h);
    norm("nextn.hnorm.weight", "pre_fc_norm_hidden.weight", h);
    norm("nextn.shared_head_norm.weight", "norm.weight", h);
  }

 private:
  void add(const char* gguf, const char* hf, std::array<std::int64_t, 3> shape, std::vector<std::int64_t> hf_shape,
           SlotLayout layout, Transform transform = Transform::kNone) {
    slots_.push_back({blk_ + gguf, hf_ + hf, shape, std::move(hf_shape), layout, transform});
  }
  void matrix(const char* gguf, const char* hf, std::int64_t rows, std::int64_t cols, SlotLayout layout = SlotLayout::kWhole) {
    add(gguf, hf, {1, rows, cols}, {rows, cols}, layout);
  }
  void vector(const char* gguf, const char* hf, std::int64_t n, SlotLayout layout = SlotLayout::kWhole,
              Transform transform = Transform::kNone) {
    add(gguf, hf, {1, 1, n}, {n}, layout, transform);
  }

  void split_projections() {
    matrix("attn_qkv.weight", "linear_attn.in_proj_qkv.weight", c_.conv_channels(), c_.hidden, SlotLayout::kQkv);
    matrix("attn_gate.weight", "linear_attn.in_proj_z.weight", c_.value_dim(), c_.hidden, SlotLayout::kHeadRows);
    matrix("ssm_beta.weight", "linear_attn.in_proj_b.weight", c_.value_heads, c_.hidden, SlotLayout::kHeadRow);
    matrix("ssm_alpha.weight", "linear_attn.in_proj_a.weight", c_.value_heads, c_.hidden, SlotLayout::kHeadRow);
  }
  void fused_projections() {
    const std::int64_t h = c_.hidden, nv = c_.value_heads, qkvz = c_.conv_channels() + c_.value_dim();
    add("attn_qkv.weight", "linear_attn.in_proj_qkvz.weight", {1, c_.conv_channels(), h}, {qkvz, h}, SlotLayout::kFusedQkv);
    add("attn_gate.weight", "linear_attn.in_proj_qkvz.weight", {1, c_.value_dim(), h}, {qkvz, h}, SlotLayout::kFusedZ);
    add("ssm_beta.weight", "linear_attn.in_proj_ba.weight", {1, nv, h}, {2 * nv, h}, SlotLayout::kFusedB);
    add("ssm_alpha.weight", "linear_attn.in_proj_ba.weight", {1, nv, h}, {2 * nv, h}, SlotLayout::kFusedA);
  }
  void experts() {
    const std::int64_t e = c_.experts, w = c_.expert_width, s = c_.shared_width, h = c_.hidden;
    matrix("ffn_gate_inp.weight", "mlp.gate.weight", e, h);
    add("ffn_gate_exps.weight", "mlp.experts", {e, w, h}, {e, 2 * w, h}, SlotLayout::kExpertGate);
    add("ffn_up_exps.weight", "mlp.experts", {e, w, h}, {e, 2 * w, h}, SlotLayout::kExpertUp);
    add("ffn_down_exps.weight", "mlp.experts", {e, h, w}, {e, h, w}, SlotLayout::kExpertDown);
    add("ffn_gate_inp_shexp.weight", "mlp.shared_expert_gate.weight", {1, 1, h}, {1, h}, SlotLayout::kWhole);
    matrix("ffn_gate_shexp.weight", "mlp.shared_expert.gate_proj.weight", s, h);
    matrix("ffn_up_shexp.weight", "mlp.shared_expert.up_proj.weight", s, h);
    matrix("ffn_down_shexp.weight", "mlp.shared_expert.down_proj.weight", h, s);
  }

  const ModelConfig& c_;
  std::vector<TensorSlot>& slots_;
  std::string blk_, hf_;
};

}  // namespace

std::int64_t stored_value_head(const ModelConfig& config, std::int64_t head) {
  if (config.head_order() == HeadOrder::kGrouped) return head;
  const std::int64_t per_key = config.value_heads / config.key_heads;
  return head % config.key_heads * per_key + head / config.key_heads;
}

std::vector<TensorSlot> tensor_slots(const ModelConfig& config, const std::string& prefix) {
  const std::int64_t h = config.hidden, v = config.vocab;
  std::vector<TensorSlot> slots;
  slots.push_back({"token_embd.weight", prefix + "embed_tokens.weight", {1, v, h}, {v, h}});
  slots.push_back({"output_norm.weight", prefix + "norm.weight", {1, 1, h}, {h}, SlotLayout::kWhole, Transform::kAddOne});
  if (!config.tied_embeddings) slots.push_back({"output.weight", "lm_head.weight", {1, v, h}, {v, h}});
  for (std::int64_t block = 0; block < config.layers + config.mtp_layers; ++block) {
    const bool predicts = block >= config.layers;
    const std::string hf =
        predicts ? fmt::format("mtp.layers.{}.", block - config.layers) : fmt::format("{}layers.{}.", prefix, block);
    LayerSlots layer(config, slots, block, hf);
    layer.norm("attn_norm.weight", "input_layernorm.weight", h);
    if (predicts || config.full_attention[static_cast<std::size_t>(block)])
      layer.attention();
    else
      layer.gdn();
    layer.norm("post_attention_norm.weight", "post_attention_layernorm.weight", h);
    layer.feed_forward();
    if (predicts) layer.prediction("mtp.");
  }
  return slots;
}

}  // namespace crossover
