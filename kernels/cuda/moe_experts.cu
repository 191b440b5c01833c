// Sparse experts: the order of a pass. Nothing here waits for the device, which alone knows who chose whom.
// Floor of 35B (256 experts of 3 x 2048 x 512, Q6_K: 2.58 MB each, top 8): T = 1 reads 20.6 MB, 4.3 us at 4.8 TB/s; T = 16 about 102 experts, 55 us;
// from T = 128 on all of them, 660 MB, 138 us; T = 4096 multiplies 206 GFLOP, 330 us at the 620 TFLOP/s of mma.sync on sm_90.
// Launches: 2 for few tokens, else 7 (9 beyond 4096 pairs): sort, activations to bf16, two heights of tiles for each product, combine.
#include "kernels/cuda/bf16_rows.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/moe_combine.h"
#include "kernels/cuda/moe_gemm.h"
#include "kernels/cuda/moe_matvec.h"
#include "kernels/cuda/moe_pairs.h"
#include "kernels/cuda/moe_path.h"

namespace crossover::cuda {
namespace {

using moe::Choices;

Bf16* bf16_workspace(Context& ctx, const char* name, std::size_t bytes) { return reinterpret_cast<Bf16*>(ctx.workspace.bytes(name, bytes)); }

void run_tiles(Context& ctx, const MoeExperts& experts, const Choices& choices, Rows out) {
  const auto pairs = static_cast<std::int64_t>(experts.ids.size());
  Bf16* const x = bf16_workspace(ctx, "cuda.moe.x", bf16_bytes(out.rows, out.dim));
  Bf16* const inner = bf16_workspace(ctx, "cuda.moe.inner", bf16_bytes(pairs, experts.gate.rows()));
  Bf16* const expert_out = bf16_workspace(ctx, "cuda.moe.out", static_cast<std::size_t>(pairs * out.dim) * sizeof(Bf16));
  const moe::Dispatch dispatch = moe::sort_by_expert(ctx, experts.ids, choices.experts, moe::tallest_tile(experts));
  to_bf16_rows(ctx, experts.x, x);
  moe::grouped_gate_up(ctx, dispatch, experts, x, inner);
  moe::grouped_down(ctx, dispatch, experts, inner, expert_out);
  moe::combine(ctx, choices, expert_out, out);
}

void run_matvec(Context& ctx, const MoeExperts& experts, const Choices& choices, Rows out) {
  float* const inner = ctx.workspace.floats("cuda.moe.inner", experts.ids.size() * static_cast<std::size_t>(experts.gate.rows()));
  moe::matvec_gate_up(ctx, experts, choices, inner);
  moe::matvec_down(ctx, experts, choices, inner, out);
}

void run_pairs(Context& ctx, const MoeExperts& experts, const Choices& choices, Rows out) {
  float* const expert_out = ctx.workspace.floats("cuda.moe.out", experts.ids.size() * static_cast<std::size_t>(out.dim));
  moe::multiply_pairs(ctx, experts, expert_out);
  moe::combine(ctx, choices, expert_out, out);
}

}  // namespace

void moe_experts(Context& ctx, const MoeExperts& experts, Rows out) {
  if (out.rows == 0 || out.dim == 0) return;
  const moe::Path path = moe::path_of(experts);
  Choices choices{experts.ids.data(), experts.weights.data(), static_cast<std::int32_t>(static_cast<std::int64_t>(experts.ids.size()) / out.rows),
                  static_cast<std::int32_t>(experts.gate.experts())};
  if (path == moe::Path::kNothing) {
    choices.k = 0;
    return moe::combine(ctx, choices, static_cast<const float*>(nullptr), out);
  }
  ctx.counters.path("moe", experts.mode == MoeMode::kGrouped ? "grouped" : "per-token");
  ctx.counters.path("moe.activation", path == moe::Path::kPairs ? "apart" : "in gate_up");
  if (path == moe::Path::kTiles) run_tiles(ctx, experts, choices, out);
  else if (path == moe::Path::kMatvec) run_matvec(ctx, experts, choices, out);
  else run_pairs(ctx, experts, choices, out);
}

}  // namespace crossover::cuda
