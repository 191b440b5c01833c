// Gated DeltaNet mixer (model-spec: projections, causal convolution of width 4, gated delta rule, gated norm). Probe names: gdn.*.
#include <cmath>

#include "engine/layers/layers.h"

namespace crossover {

void gdn_layer(Pass& pass, const GdnWeights& weights, LayerState& state, ConstRows x, Rows out) {
  Context& ctx = pass.ctx;
  const std::int64_t tokens = x.rows, head_dim = pass.config.gdn_head_dim;
  const std::int64_t key_heads = pass.shape.key_heads, value_heads = pass.shape.value_heads;
  if (value_heads == 0) return clear(out);
  const std::int64_t key_dim = key_heads * head_dim, value_dim = value_heads * head_dim, channels = 2 * key_dim + value_dim;
  auto rows = [&](const char* name, std::int64_t dim) { return Rows(ctx.workspace.floats(name, static_cast<std::size_t>(tokens * dim)), tokens, dim); };
  const Rows mixed = rows("gdn.mixed", channels), z = rows("gdn.z", value_dim), conv = rows("gdn.conv", channels), core = rows("gdn.core", value_dim);
  const Rows a = rows("gdn.a", value_heads), b = rows("gdn.b", value_heads), g = rows("gdn.g", value_heads), beta = rows("gdn.beta", value_heads);
  {
    const Range range(ctx.trace, "gdn.proj");
    op::matmul(ctx, x, weights.qkv, mixed);
    op::matmul(ctx, x, weights.z, z);
    op::matmul(ctx, x, weights.a, a);
    op::matmul(ctx, x, weights.b, b);
  }
  {
    const Range range(ctx.trace, "gdn.conv");
    op::conv1d_silu(ctx, mixed, weights.conv, state.conv, conv);
    op::gdn_gates(ctx, a, b, weights.ssm_a.f32(), weights.dt_bias.f32(), g, beta);
    pass.show("gdn.conv_out", conv);
    // q and k heads are adjacent in a row, so both norms run over [T, heads] views of it, one token at a time in memory order.
    constexpr float kL2Eps = 1e-6f;
    const float query_scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
    for (std::int64_t head = 0; head < key_heads; ++head) {
      const Rows q = conv.columns(head * head_dim, head_dim), k = conv.columns(key_dim + head * head_dim, head_dim);
      op::l2_norm(ctx, q, kL2Eps, query_scale, q);
      op::l2_norm(ctx, k, kL2Eps, 1.0f, k);
    }
    pass.show("gdn.g", g);
    pass.show("gdn.beta", beta);
  }
  {
    const Range range(ctx.trace, "gdn.scan");
    const GdnScan scan{conv.columns(0, key_dim), conv.columns(key_dim, key_dim), conv.columns(2 * key_dim, value_dim), g, beta, state.delta,
                       key_heads, value_heads, head_dim, pass.config.head_order()};
    if (pass.gdn_kernel == GdnKernel::kChunked) op::gdn_chunked(ctx, scan, core);
    else op::gdn_recurrent(ctx, scan, core);
  }
  const Range range(ctx.trace, "gdn.out");
  const Rows heads(core.data, tokens * value_heads, head_dim);
  op::gated_rms_norm(ctx, heads, weights.norm.f32(), Rows(z.data, tokens * value_heads, head_dim), pass.config.rms_eps, heads);
  pass.show("gdn.out", core);
  op::matmul(ctx, core, weights.out, out);
}

}  // namespace crossover
