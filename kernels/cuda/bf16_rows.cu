// Bound by memory: 4 bytes read and 2 written per value. A thread takes the four values of one lane of a quad: 16 bytes in, two words out.
#include "kernels/cuda/bf16_rows.h"

#include <algorithm>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/view.h"

namespace crossover::cuda {
namespace {

constexpr int kThreads = 256;

template <bool kFours, Bf16Order kOrder>
__global__ void __launch_bounds__(kThreads) to_bf16_kernel(View<const float> x, std::int64_t stride, Bf16* out) {
  wait_for_launches_before();
  const std::int64_t first = (static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x) * 4;
  if (first >= stride) return;
  for (std::int64_t row = blockIdx.y; row < x.rows; row += gridDim.y) {
    Values<4> v{};
    if constexpr (kFours) {
      if (first < x.dim) v = load<4>(x.row(row) + first);
    } else {
#pragma unroll
      for (int j = 0; j < 4; ++j)
        if (first + j < x.dim) v.v[j] = x.row(row)[first + j];
    }
    const unsigned low = pack_bf16(v.v[0], v.v[1]), high = pack_bf16(v.v[2], v.v[3]);
    if constexpr (kOrder == Bf16Order::kPlain) {
      *reinterpret_cast<uint2*>(out + row * stride + first) = make_uint2(low, high);
    } else {
      unsigned* const to = reinterpret_cast<unsigned*>(out + row * stride + first / kGroupValues * kGroupValues) + first % kGroupValues / 4;
      to[0] = low, to[4] = high;
    }
  }
}

template <Bf16Order kOrder>
void start(Context& ctx, ConstRows x, Bf16* out) {
  const std::int64_t stride = bf16_stride(x.dim);
  if (x.rows == 0 || stride == 0) return;
  const unsigned of_a_row = blocks_for(stride, 4 * kThreads), most = static_cast<unsigned>(ctx.device->facts().multiprocessors) * 16;
  const auto together = static_cast<unsigned>(std::min<std::int64_t>(x.rows, std::max(1U, most / of_a_row)));
  const Shape shape{dim3(of_a_row, together), dim3(kThreads)};
  if (in_fours(x)) launch(ctx, "to_bf16_rows", to_bf16_kernel<true, kOrder>, shape, view(x), stride, out);
  else launch(ctx, "to_bf16_rows", to_bf16_kernel<false, kOrder>, shape, view(x), stride, out);
}

}  // namespace

void to_bf16_rows(Context& ctx, ConstRows x, Bf16* out, Bf16Order order) {
  if (order == Bf16Order::kQuad) start<Bf16Order::kQuad>(ctx, x, out);
  else start<Bf16Order::kPlain>(ctx, x, out);
}

}  // namespace crossover::cuda
