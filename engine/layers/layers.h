// The layers of the model, each one rank's part: `out` is its partial sum, which forward() adds up over the ranks. Shapes as in
// engine/model.h with this rank's head counts and widths; T tokens of this pass.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "engine/load/shard_plan.h"
#include "engine/model.h"
#include "engine/state.h"
#include "kernels/ops.h"

namespace crossover {

// Sees intermediate activations: (name, layer, values). For tests and for finding where two engines part; null otherwise.
using Probe = std::function<void(std::string_view name, std::int64_t layer, ConstRows values)>;

struct Pass {
  Context& ctx;
  const ModelConfig& config;
  const RankShape& shape;
  std::int64_t past = 0;   // tokens in the state before this pass
  std::int64_t layer = 0;
  GdnForm gdn_form = GdnForm::kAuto;
  MoeMode moe_mode = MoeMode::kGrouped;
  const Probe* probe = nullptr;
  ConstRows angles = {};            // [T, rotary_dim] of this pass's positions (op::rope_angles)
  std::int64_t rehearsed_experts = 0;  // ForwardOptions
  bool separate_rotation = false;   // of caches by passes of their own instead of inside the write and the attention

  void show(std::string_view name, ConstRows values) const {
    if (probe) show_values(name, values);
  }

 private:
  void show_values(std::string_view name, ConstRows values) const;  // brings them to the host first
};

void gdn_layer(Pass& pass, const GdnWeights& weights, LayerState& state, ConstRows x /* [T, H] */, Rows out /* [T, H] */);
void attention_layer(Pass& pass, const AttentionWeights& weights, LayerState& state, ConstRows x, Rows out);
void mlp_layer(Pass& pass, const MlpWeights& weights, std::int64_t width, ConstRows x, Rows out);
void moe_layer(Pass& pass, const MoeWeights& weights, ConstRows x, Rows out);

void clear(Context& ctx, Rows out);

}  // namespace crossover
