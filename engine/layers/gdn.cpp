// Gated DeltaNet mixer (model-spec: projections, causal convolution of width 4, gated delta rule, gated norm). Probe names: gdn.*.
#include <cmath>

#include "engine/layers/layers.h"

namespace crossover {
namespace {

// L2 norm of every head of x [T, heads*D], in place. A view has one stride, so it holds the heads of one token or the tokens of one
// head: whichever takes fewer calls.
void normalize_heads(Context& ctx, Rows x, std::int64_t head_dim, float scale) {
  constexpr float kEps = 1e-6f;
  const std::int64_t heads = x.dim / head_dim;
  auto norm = [&](Rows view) { op::l2_norm(ctx, view, kEps, scale, view); };
  if (x.rows < heads)
    for (std::int64_t t = 0; t < x.rows; ++t) norm(Rows(x.row(t), heads, head_dim));
  else
    for (std::int64_t h = 0; h < heads; ++h) norm(x.columns(h * head_dim, head_dim));
}

}  // namespace

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
    const Projection projections[] = {{weights.qkv, mixed}, {weights.z, z}, {weights.a, a}, {weights.b, b}};
    op::matmuls(ctx, x, projections);
  }
  {
    const Range range(ctx.trace, "gdn.conv");
    op::conv1d_silu(ctx, mixed, weights.conv, state.conv, conv);
    op::gdn_gates(ctx, a, b, weights.ssm_a.f32(), weights.dt_bias.f32(), g, beta);
    pass.show("gdn.conv_out", conv);
    normalize_heads(ctx, conv.columns(0, key_dim), head_dim, 1.0f / std::sqrt(static_cast<float>(head_dim)));
    normalize_heads(ctx, conv.columns(key_dim, key_dim), head_dim, 1.0f);
    pass.show("gdn.g", g);
    pass.show("gdn.beta", beta);
  }
  {
    const Range range(ctx.trace, "gdn.scan");
    const GdnScan scan{conv.columns(0, key_dim), conv.columns(key_dim, key_dim), conv.columns(2 * key_dim, value_dim), g, beta, state.delta,
                       key_heads, value_heads, head_dim, pass.config.head_order(), pass.gdn_kernel == GdnKernel::kChunkedF32};
    if (pass.gdn_kernel == GdnKernel::kRecurrent) op::gdn_recurrent(ctx, scan, core);
    else op::gdn_chunked(ctx, scan, core);
  }
  const Range range(ctx.trace, "gdn.out");
  const Rows heads(core.data, tokens * value_heads, head_dim);
  op::gated_rms_norm(ctx, heads, weights.norm.f32(), Rows(z.data, tokens * value_heads, head_dim), pass.config.rms_eps, heads);
  pass.show("gdn.out", core);
  op::matmul(ctx, core, weights.out, out);
}

}  // namespace crossover
