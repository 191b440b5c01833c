#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/runtime.h"

namespace crossover {

namespace cuda {

void upload(Context& ctx, std::byte* to, const std::byte* from_host, std::size_t bytes) { ctx.device->upload(to, from_host, bytes); }
void download(Context& ctx, std::byte* to_host, const std::byte* from, std::size_t bytes) { ctx.device->download(to_host, from, bytes); }
void download_rows(Context& ctx, Rows to_host, ConstRows from) { ctx.device->download_rows(to_host, from); }
void clear(Context& ctx, std::byte* memory, std::size_t bytes) { ctx.device->clear(memory, bytes); }
void synchronize(Context& ctx) { ctx.device->synchronize(); }

}  // namespace cuda

const Ops& cuda_ops() {
  using namespace cuda;
  static constexpr Ops kOps{
      .backend = "cuda",
      .host_memory = false,
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
