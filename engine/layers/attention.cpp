// Gated attention: per head a query and a gate, norms over head_dim, partial RoPE, causal attention over the cache, sigmoid gate
// before the output projection. Probe names: attn.*.
#include <cmath>
#include <string>
#include <string_view>

#include "engine/layers/layers.h"

namespace crossover {

namespace {

void note_path(Context& ctx, const Pass& pass, const char* part, const KvCache& cache) {
  const std::string_view kernel = cache.rotation == Rotation::kNone ? "" : pass.separate_rotation ? "-separate" : "-fused";
  ctx.counters.path(part, std::string(name(cache.rotation)).append(kernel));
}

}  // namespace

void attention_layer(Pass& pass, const AttentionWeights& weights, LayerState& state, ConstRows x, Rows out) {
  Context& ctx = pass.ctx;
  const ModelConfig& config = pass.config;
  const std::int64_t tokens = x.rows, hd = config.head_dim, heads = pass.shape.heads, kv_heads = pass.shape.kv_heads;
  if (heads == 0) return clear(ctx, out);
  auto rows = [&](const char* name, std::int64_t dim) { return Rows(ctx.workspace.floats(name, static_cast<std::size_t>(tokens * dim)), tokens, dim); };
  const Rows query_gate = rows("attn.query_gate", heads * 2 * hd), k = rows("attn.k", kv_heads * hd), v = rows("attn.v", kv_heads * hd);
  const Rows mixed = rows("attn.mixed", heads * hd), mixed_heads(mixed.data, tokens * heads, hd);
  {
    const Range range(ctx.trace, "attn.proj");
    const Projection projections[] = {{weights.q, query_gate}, {weights.k, k}, {weights.v, v}};
    op::matmuls(ctx, x, projections);
  }
  const Rows q(query_gate.data, tokens * heads, hd, 2 * hd), gate(query_gate.data + hd, tokens * heads, hd, 2 * hd);
  const Rows key_heads(k.data, tokens * kv_heads, hd), value_heads(v.data, tokens * kv_heads, hd);
  {
    const Range range(ctx.trace, "attn.rope");
    op::norm_rope(ctx, q, weights.q_norm.f32(), config.rms_eps, heads, pass.angles);
    op::norm_rope(ctx, key_heads, weights.k_norm.f32(), config.rms_eps, kv_heads, pass.angles);
  }
  pass.show("attn.q", q);
  pass.show("attn.gate", gate);
  pass.show("attn.k", key_heads);
  pass.show("attn.v", v);
  note_path(ctx, pass, "attention.k_rotation", state.keys), note_path(ctx, pass, "attention.v_rotation", state.values);
  // Separate: the operations see caches without a rotation and what they are given is rotated beforehand.
  const bool turn = pass.separate_rotation;
  const KvCache keys = turn ? KvCache(state.keys.rows) : state.keys, values = turn ? KvCache(state.values.rows) : state.values;
  const bool turn_back = turn && state.values.rotation != Rotation::kNone;
  if (turn) {
    const Range range(ctx.trace, "attn.rotate");
    op::rotate(ctx, q, state.keys.rotation, false), op::rotate(ctx, key_heads, state.keys.rotation, false);
    op::rotate(ctx, value_heads, state.values.rotation, false);
  }
  {
    const Range range(ctx.trace, "attn.kv_write");
    op::kv_write(ctx, k, keys, pass.past);
    op::kv_write(ctx, v, values, pass.past);
  }
  {
    const Range range(ctx.trace, "attn.core");
    const float scale = 1.0f / std::sqrt(static_cast<float>(hd));
    op::attention(ctx, {q, keys, values, pass.past, heads, kv_heads, scale, turn_back ? ConstRows() : gate}, mixed_heads);
  }
  if (turn_back) {
    const Range range(ctx.trace, "attn.rotate");
    op::rotate(ctx, mixed_heads, state.values.rotation, true);
    op::sigmoid_gate(ctx, mixed_heads, gate);
  }
  const Range range(ctx.trace, "attn.out");
  pass.show("attn.out", mixed);
  op::matmul(ctx, mixed, weights.out, out);
}

}  // namespace crossover
