// Products in f32: weights that are f32 (routers, gates of GDN: few rows) and whatever rows of the plain types no tensor core can read.
// A warp takes a row of weights and up to eight tokens; lanes take every 32nd value. Few tokens: bound by reading the weights.
#include "kernels/cuda/launch.h"
#include "kernels/cuda/linear.h"
#include "kernels/cuda/view.h"

namespace crossover::cuda {
namespace {

constexpr int kThreads = 256, kTokens = 8;

template <DType kType>
__global__ void __launch_bounds__(kThreads) f32_matmul_kernel(View<const float> x, const std::byte* weight, std::int64_t stride, View<float> out) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * (kThreads / kWarp) + threadIdx.x / kWarp, token_0 = static_cast<std::int64_t>(blockIdx.y) * kTokens;
  if (row >= out.dim) return;
  float sums[kTokens] = {};
  for (std::int64_t k = lane; k < x.dim; k += kWarp) {
    const float w = value_at<kType>(weight + row * stride, k);
#pragma unroll
    for (int t = 0; t < kTokens; ++t)
      if (token_0 + t < x.rows) sums[t] = fmaf(x.row(token_0 + t)[k], w, sums[t]);
  }
#pragma unroll
  for (int t = 0; t < kTokens; ++t) {
    const float sum = warp_sum(sums[t]);
    if (lane == 0 && token_0 + t < x.rows) out.row(token_0 + t)[row] = sum;
  }
}

}  // namespace

void f32_matmul(Context& ctx, ConstRows x, const Tensor& weight, Rows out) {
  const Shape shape{dim3(blocks_for(out.dim, kThreads / kWarp), blocks_for(x.rows, kTokens)), dim3(kThreads)};
  dispatch(x.dim == 0 ? DType::kF32 : weight.dtype, [&]<DType kType>() {  // no values: zeros, whatever the type
    if constexpr (kType == DType::kF32 || kType == DType::kF16 || kType == DType::kBF16)
      launch(ctx, "f32_matmul", f32_matmul_kernel<kType>, shape, view(x), weight.data, weight.row_stride(), view(out));
  });
}

}  // namespace crossover::cuda
