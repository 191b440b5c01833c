#include "kernels/reference/reference.h"

namespace crossover {

const Ops& reference_ops() {
  using namespace reference;
  static constexpr Ops kOps{
      .backend = "reference",
      .host_memory = true,
      .allocate = allocate,
      .release = release,
      .upload = upload,
      .download = download,
      .download_rows = download_rows,
      .clear = clear,
      .synchronize = synchronize,
      .embed = embed,
      .rms_norm = rms_norm,
      .add_rms_norm = add_rms_norm,
      .l2_norm = l2_norm,
      .matmul = matmul,
      .matmuls = matmuls,
      .add = add,
      .add_gated = add_gated,
      .swiglu = swiglu,
      .sigmoid_gate = sigmoid_gate,
      .conv1d_silu = conv1d_silu,
      .gdn_gates = gdn_gates,
      .gdn_recurrent = gdn_recurrent,
      .gdn_chunked = gdn_chunked,
      .gdn_mixer = gdn_mixer,
      .gated_rms_norm = gated_rms_norm,
      .rope_angles = rope_angles,
      .norm_rope = norm_rope,
      .rotate = rotate,
      .kv_write = kv_write,
      .attention = attention,
      .moe_route = moe_route,
      .moe_experts = moe_experts,
  };
  return kOps;
}

}  // namespace crossover
