// Gated attention: per head a query and a gate, norms over head_dim, partial RoPE, causal attention over the cache, sigmoid gate
// before the output projection. Probe names: attn.*.
#include <cmath>

#include "engine/layers/layers.h"

namespace crossover {

void attention_layer(Pass& pass, const AttentionWeights& weights, LayerState& state, ConstRows x, Rows out) {
  Context& ctx = pass.ctx;
  const ModelConfig& config = pass.config;
  const std::int64_t tokens = x.rows, hd = config.head_dim, heads = pass.shape.heads, kv_heads = pass.shape.kv_heads;
  if (heads == 0) return clear(out);
  auto rows = [&](const char* name, std::int64_t dim) { return Rows(ctx.workspace.floats(name, static_cast<std::size_t>(tokens * dim)), tokens, dim); };
  const Rows query_gate = rows("attn.query_gate", heads * 2 * hd), k = rows("attn.k", kv_heads * hd), v = rows("attn.v", kv_heads * hd);
  const Rows mixed = rows("attn.mixed", heads * hd);
  {
    const Range range(ctx.trace, "attn.proj");
    const Projection projections[] = {{weights.q, query_gate}, {weights.k, k}, {weights.v, v}};
    op::matmuls(ctx, x, projections);
  }
  const Rows q(query_gate.data, tokens * heads, hd, 2 * hd), gate(query_gate.data + hd, tokens * heads, hd, 2 * hd);
  const Rows key_heads(k.data, tokens * kv_heads, hd);
  {
    const Range range(ctx.trace, "attn.rope");
    op::rms_norm(ctx, q, weights.q_norm.f32(), config.rms_eps, q);
    op::rms_norm(ctx, key_heads, weights.k_norm.f32(), config.rms_eps, key_heads);
    op::rope(ctx, q, heads, pass.past, config.rotary_dim, config.rope_theta);
    op::rope(ctx, key_heads, kv_heads, pass.past, config.rotary_dim, config.rope_theta);
  }
  pass.show("attn.q", q);
  pass.show("attn.gate", gate);
  pass.show("attn.k", key_heads);
  pass.show("attn.v", v);
  {
    const Range range(ctx.trace, "attn.kv_write");
    op::kv_write(ctx, k, state.keys, pass.past);
    op::kv_write(ctx, v, state.values, pass.past);
  }
  const Rows mixed_heads(mixed.data, tokens * heads, hd);
  {
    const Range range(ctx.trace, "attn.core");
    const float scale = 1.0f / std::sqrt(static_cast<float>(hd));
    op::attention(ctx, {q, state.keys, state.values, pass.past, heads, kv_heads, scale}, mixed_heads);
  }
  const Range range(ctx.trace, "attn.out");
  op::sigmoid_gate(ctx, mixed_heads, gate);
  pass.show("attn.out", mixed);
  op::matmul(ctx, mixed, weights.out, out);
}

}  // namespace crossover
