// The mixer of a Gated DeltaNet layer, operation by operation.
#include <algorithm>
#include <cmath>

#include "kernels/reference/reference.h"

namespace crossover::reference {
namespace {

void copy(ConstRows from, Rows to) {
  for (std::int64_t t = 0; t < from.rows && to.data != nullptr; ++t) std::copy_n(from.row(t), from.dim, to.row(t));
}

}  // namespace

void gdn_mixer(Context& context, const GdnMixer& mixer, Rows out) {
  const std::int64_t tokens = out.rows, dim = mixer.head_dim, keys = mixer.key_heads * dim;
  const auto rows = [&](const char* name, std::int64_t n) {
    return Rows(context.workspace.floats(name, static_cast<std::size_t>(tokens * n)), tokens, n);
  };
  const Rows conv = rows("mixer.conv", mixer.mixed.dim), g = rows("mixer.g", mixer.value_heads), beta = rows("mixer.beta", mixer.value_heads);
  conv1d_silu(context, mixer.mixed, mixer.conv, mixer.conv_state, conv);
  gdn_gates(context, mixer.a, mixer.b, mixer.ssm_a, mixer.dt_bias, g, beta);
  copy(conv, mixer.conv_out), copy(g, mixer.g), copy(beta, mixer.beta);
  for (std::int64_t h = 0; h < 2 * mixer.key_heads; ++h) {
    const Rows head = conv.columns(h * dim, dim);
    l2_norm(context, head, kGdnKeyEps, h < mixer.key_heads ? 1.0f / std::sqrt(static_cast<float>(dim)) : 1.0f, head);
  }
  const GdnScan scan{conv.columns(0, keys), conv.columns(keys, keys), conv.columns(2 * keys, out.dim), g, beta, mixer.state, mixer.key_heads,
                     mixer.value_heads, dim, mixer.order};
  (mixer.form == GdnForm::kChunked || mixer.form == GdnForm::kChunkedF32 ? gdn_chunked : gdn_recurrent)(context, scan, out);
  for (std::int64_t h = 0; h < mixer.value_heads; ++h)
    gated_rms_norm(context, out.columns(h * dim, dim), mixer.norm, mixer.z.columns(h * dim, dim), mixer.norm_eps, out.columns(h * dim, dim));
}

}  // namespace crossover::reference
