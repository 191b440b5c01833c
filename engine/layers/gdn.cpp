// Gated DeltaNet mixer (model-spec: projections, causal convolution of width 4, gated delta rule, gated norm). Probe names: gdn.*.
#include "engine/layers/layers.h"

namespace crossover {

void gdn_layer(Pass& pass, const GdnWeights& weights, LayerState& state, ConstRows x, Rows out) {
  Context& ctx = pass.ctx;
  const std::int64_t tokens = x.rows, head_dim = pass.config.gdn_head_dim;
  const std::int64_t key_heads = pass.shape.key_heads, value_heads = pass.shape.value_heads;
  if (value_heads == 0) return clear(ctx, out);
  const std::int64_t key_dim = key_heads * head_dim, value_dim = value_heads * head_dim, channels = 2 * key_dim + value_dim;
  auto rows = [&](const char* name, std::int64_t dim) { return Rows(ctx.workspace.floats(name, static_cast<std::size_t>(tokens * dim)), tokens, dim); };
  const Rows mixed = rows("gdn.mixed", channels), z = rows("gdn.z", value_dim), core = rows("gdn.core", value_dim);
  const Rows a = rows("gdn.a", value_heads), b = rows("gdn.b", value_heads);
  {
    const Range range(ctx.trace, "gdn.proj");
    const Projection projections[] = {{weights.qkv, mixed}, {weights.z, z}, {weights.a, a}, {weights.b, b}};
    op::matmuls(ctx, x, projections);
  }
  {
    const Range range(ctx.trace, "gdn.scan");  // the convolution, the gates and the norms run inside it
    GdnMixer mixer{.mixed = mixed, .conv = weights.conv, .a = a, .b = b, .ssm_a = weights.ssm_a.f32(), .dt_bias = weights.dt_bias.f32(), .z = z,
                   .norm = weights.norm.f32(), .norm_eps = pass.config.rms_eps, .conv_state = state.conv, .state = state.delta,
                   .key_heads = key_heads, .value_heads = value_heads, .head_dim = head_dim, .order = pass.config.head_order(), .form = pass.gdn_form};
    if (pass.probe) mixer.conv_out = rows("gdn.conv", channels), mixer.g = rows("gdn.g", value_heads), mixer.beta = rows("gdn.beta", value_heads);
    op::gdn_mixer(ctx, mixer, core);
    pass.show("gdn.conv_out", mixer.conv_out);
    pass.show("gdn.g", mixer.g);
    pass.show("gdn.beta", mixer.beta);
    pass.show("gdn.out", core);
  }
  const Range range(ctx.trace, "gdn.out");
  op::matmul(ctx, core, weights.out, out);
}

}  // namespace crossover
