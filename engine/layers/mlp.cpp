// Dense and mixture-of-experts feed-forward. Probe names: moe.*.
#include <algorithm>

#include "engine/layers/layers.h"

namespace crossover {

void clear(Context& ctx, Rows out) {
  for (std::int64_t r = 0; r < out.rows; ++r) ctx.ops.clear(ctx, reinterpret_cast<std::byte*>(out.row(r)), static_cast<std::size_t>(out.dim) * sizeof(float));
}

void mlp_layer(Pass& pass, const MlpWeights& weights, std::int64_t width, ConstRows x, Rows out) {
  Context& ctx = pass.ctx;
  if (width == 0) return clear(ctx, out);
  auto rows = [&](const char* name) { return Rows(ctx.workspace.floats(name, static_cast<std::size_t>(x.rows * width)), x.rows, width); };
  const Rows inner = rows("mlp.inner");
  const Projection gated{weights.gate, inner, weights.up};
  op::matmuls(ctx, x, {&gated, 1});
  op::matmul(ctx, inner, weights.down, out);
}

void moe_layer(Pass& pass, const MoeWeights& weights, ConstRows x, Rows out) {
  Context& ctx = pass.ctx;
  const std::int64_t tokens = x.rows, experts = pass.config.experts, k = pass.config.experts_per_token;
  auto rows = [&](const char* name, std::int64_t dim) { return Rows(ctx.workspace.floats(name, static_cast<std::size_t>(tokens * dim)), tokens, dim); };
  const Rows logits = rows("moe.logits", experts), shared = rows("moe.shared", out.dim), shared_gate = rows("moe.shared_gate", 1);
  const Rows route = rows("moe.weights", k);
  auto* ids = reinterpret_cast<std::int32_t*>(ctx.workspace.bytes("moe.ids", static_cast<std::size_t>(tokens * k) * sizeof(std::int32_t)));
  const std::span<std::int32_t> id_span(ids, static_cast<std::size_t>(tokens * k));
  const std::span<float> weight_span(route.data, static_cast<std::size_t>(tokens * k));
  {
    const Range range(ctx.trace, "moe.router");
    op::matmul(ctx, x, weights.router, logits);
    op::moe_route(ctx, logits, k, pass.config.normalize_top_k, id_span, weight_span);
  }
  for (std::size_t i = 0; pass.rehearsed_experts > 0 && i < id_span.size(); ++i) ids[i] = static_cast<std::int32_t>(static_cast<std::int64_t>(i) % pass.rehearsed_experts);
  pass.show("moe.router_logits", logits);
  pass.show("moe.topk_weights", route);
  op::moe_experts(ctx, {x, id_span, weight_span, weights.gate, weights.up, weights.down, pass.moe_mode}, out);
  if (pass.shape.shared_width > 0) {
    const Range range(ctx.trace, "moe.shared");
    const Rows inner = rows("moe.shared_inner", pass.shape.shared_width);
    const Projection projections[] = {{weights.shared.gate, inner, weights.shared.up}, {weights.shared_gate, shared_gate}};
    op::matmuls(ctx, x, projections);
    op::matmul(ctx, inner, weights.shared.down, shared);
    op::add_gated(ctx, out, shared, shared_gate);
  }
}

}  // namespace crossover
