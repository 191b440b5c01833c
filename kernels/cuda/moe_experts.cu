// Sparse experts: which products a pass takes, and their order. Nothing here waits for the device, which alone knows who chose whom.
#include "kernels/cuda/bf16_rows.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/moe_combine.h"
#include "kernels/cuda/moe_gemm.h"
#include "kernels/cuda/moe_pairs.h"

namespace crossover::cuda {
namespace {

Bf16* bf16_workspace(Context& ctx, const char* name, std::size_t bytes) { return reinterpret_cast<Bf16*>(ctx.workspace.bytes(name, bytes)); }

void run_grouped(Context& ctx, const MoeExperts& experts, const moe::Choices& choices, Rows out) {
  const auto pairs = static_cast<std::int64_t>(experts.ids.size());
  Bf16* const x = bf16_workspace(ctx, "cuda.moe.x", bf16_bytes(out.rows, out.dim));
  Bf16* const inner = bf16_workspace(ctx, "cuda.moe.inner", bf16_bytes(pairs, experts.gate.rows()));
  Bf16* const expert_out = bf16_workspace(ctx, "cuda.moe.out", static_cast<std::size_t>(pairs * out.dim) * sizeof(Bf16));
  const moe::Dispatch dispatch = moe::sort_by_expert(ctx, experts.ids, choices.experts);
  to_bf16_rows(ctx, experts.x, x);
  moe::grouped_gate_up(ctx, dispatch, experts, x, inner);
  moe::grouped_down(ctx, dispatch, experts, inner, expert_out);
  moe::combine(ctx, choices, expert_out, out);
}

void run_pairs(Context& ctx, const MoeExperts& experts, const moe::Choices& choices, Rows out) {
  float* const expert_out = ctx.workspace.floats("cuda.moe.out", experts.ids.size() * static_cast<std::size_t>(out.dim));
  moe::multiply_pairs(ctx, experts, expert_out);
  moe::combine(ctx, choices, expert_out, out);
}

}  // namespace

void moe_experts(Context& ctx, const MoeExperts& experts, Rows out) {
  const auto pairs = static_cast<std::int64_t>(experts.ids.size());
  if (out.rows == 0 || out.dim == 0) return;
  moe::Choices choices{experts.ids.data(), experts.weights.data(), static_cast<std::int32_t>(pairs / out.rows), static_cast<std::int32_t>(experts.gate.experts())};
  if (experts.gate.rows() == 0) choices.k = 0;  // zeros, as of a token without experts
  if (choices.k == 0) return moe::combine(ctx, choices, static_cast<const float*>(nullptr), out);
  ctx.counters.path("moe", experts.mode == MoeMode::kGrouped ? "grouped" : "per-token");
  if (moe::takes_tiles(experts)) run_grouped(ctx, experts, choices, out);
  else run_pairs(ctx, experts, choices, out);
}

}  // namespace crossover::cuda
