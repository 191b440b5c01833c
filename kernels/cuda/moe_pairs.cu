// A warp takes a row of an expert's matrix and a pair. The weights of an expert come from the L2 cache for all but its first pair, so that it is
// bound by L2 (about 2.5 times DRAM on Hopper) at T k > E and by DRAM below: N K weights a pair, once. f32 experts are those of tests and of
// oracles; quantized ones come here only where gate and up are of two types. Registers: below 40.
#include "kernels/cuda/moe_pairs.h"

#include "kernels/cuda/blocks.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/view.h"

namespace crossover::cuda::moe {
namespace {

constexpr int kWarps = 8;

struct PairProduct {
  const std::int32_t* ids;       // [pairs]
  std::int32_t experts, per_row;  // pairs that read one row of x: k where rows are tokens, 1 where they are pairs
  const std::byte* weights;      // [E, N, K]
  std::int64_t n, k, row_bytes;
  View<const float> x;
  float* out;                    // [pairs, N]
  bool gates;                    // out = silu(out) * product
};

template <DType kType>
__global__ void __launch_bounds__(kWarps* kWarp) multiply_rows(PairProduct op, unsigned blocks_per_pair) {
  wait_for_launches_before();
  const std::int64_t pair = blockIdx.x / blocks_per_pair;
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x % blocks_per_pair) * kWarps + threadIdx.x / kWarp;
  const int expert = op.ids[pair], lane = static_cast<int>(threadIdx.x) % kWarp;
  if (row >= op.n || expert < 0 || expert >= op.experts) return;
  const std::byte* const weights = op.weights + (expert * op.n + row) * op.row_bytes;
  const float* const x = op.x.row(pair / op.per_row);
  float sum = 0;
#pragma unroll 4
  for (std::int64_t i = lane; i < op.k; i += kWarp) sum = fmaf(value_at<kType>(weights, i), x[i], sum);
  sum = warp_sum(sum);
  float& out = op.out[pair * op.n + row];
  if (lane == 0) out = op.gates ? silu(out) * sum : sum;
}

void multiply(Context& ctx, const char* name, const MoeExperts& moe, ConstRows x, const Tensor& weight, float* out, bool gates) {
  const auto pairs = static_cast<std::int64_t>(moe.ids.size());
  const PairProduct product{moe.ids.data(), static_cast<std::int32_t>(weight.experts()), static_cast<std::int32_t>(pairs / x.rows), weight.data,
                            weight.rows(), weight.cols(), weight.row_stride(), view(x), out, gates};
  const unsigned blocks = blocks_for(weight.rows(), kWarps);
  const Shape shape{dim3(blocks * static_cast<unsigned>(pairs)), dim3(kWarps * kWarp)};
  dispatch(weight.dtype, [&]<DType kType> { launch(ctx, name, multiply_rows<kType>, shape, product, blocks); });
  ctx.counters.path(std::string("matmul.") + crossover::name(weight.dtype), "fma-f32");
}

}  // namespace

void multiply_pairs(Context& ctx, const MoeExperts& moe, float* expert_out) {
  const auto pairs = static_cast<std::int64_t>(moe.ids.size());
  const std::int64_t width = moe.gate.rows();
  float* const inner = ctx.workspace.floats("cuda.moe.inner", static_cast<std::size_t>(pairs * width));
  {
    const Range range(ctx.trace, "moe.gate_up");
    multiply(ctx, "moe.gate", moe, moe.x, moe.gate, inner, false);
    multiply(ctx, "moe.up", moe, moe.x, moe.up, inner, true);
  }
  const Range range(ctx.trace, "moe.down");
  multiply(ctx, "moe.down", moe, ConstRows(inner, pairs, width), moe.down, expert_out, false);
}

}  // namespace crossover::cuda::moe
