// Bound by memory: T k H values read, T H written; nothing is used twice. 35B at T = 4096: 32768 x 2048 bf16 = 134 MB and 34 MB of f32,
// 50 us at 3.35 TB/s; at T = 512 what the product before has written is still in the L2 cache (17 MB). A thread owns four columns and has the
// loads of four choices under way; 16 warps of 30 registers fill a multiprocessor's queue of loads.
#include "kernels/cuda/moe_combine.h"

#include "kernels/cuda/launch.h"
#include "kernels/cuda/view.h"

namespace crossover::cuda::moe {
namespace {

constexpr int kThreads = 256;

template <int N>
__device__ __forceinline__ Values<N> load_values(const float* from) { return load<N>(from); }

template <int N>
__device__ __forceinline__ Values<N> load_values(const Bf16* from) {
  if constexpr (N == 4) {
    const uint2 x = *reinterpret_cast<const uint2*>(from);
    return {{__uint_as_float(x.x << 16), __uint_as_float(x.x & 0xffff0000u), __uint_as_float(x.y << 16), __uint_as_float(x.y & 0xffff0000u)}};
  } else {
    return {{to_float(*from)}};
  }
}

// A block takes kThreads * N columns of a token.
template <class T, int N>
__global__ void __launch_bounds__(kThreads) sum_choices(Choices choices, const T* expert_out, View<float> out, int blocks_per_token) {
  wait_for_launches_before();
  std::int32_t* const order = dynamic_shared<std::int32_t>();
  const std::int64_t token = blockIdx.x / static_cast<unsigned>(blocks_per_token);
  const std::int64_t column = (static_cast<std::int64_t>(blockIdx.x % static_cast<unsigned>(blocks_per_token)) * kThreads + threadIdx.x) * N;
  const int count = order_choices(choices, token, order);
  if (column >= out.dim) return;
  const float* const weights = choices.weights + token * choices.k;
  const T* const rows = expert_out + token * choices.k * out.dim + column;
  Values<N> sum{};
#pragma unroll 4
  for (int i = 0; i < count; ++i) {
    const Values<N> x = load_values<N>(rows + order[i] * out.dim);
    const float weight = weights[order[i]];
#pragma unroll
    for (int j = 0; j < N; ++j) sum.v[j] += weight * x.v[j];
  }
  store<N>(out.row(token) + column, sum);
}

template <class T>
void sum(Context& ctx, const Choices& choices, const T* expert_out, Rows out) {
  const Range range(ctx.trace, "moe.combine");
  const int n = in_fours(out) ? 4 : 1;
  const unsigned blocks = blocks_for(out.dim, kThreads * n);
  const Shape shape{dim3(blocks * static_cast<unsigned>(out.rows)), dim3(kThreads), 2 * static_cast<std::size_t>(choices.k) * sizeof(std::int32_t)};
  launch(ctx, "moe.combine", n == 4 ? sum_choices<T, 4> : sum_choices<T, 1>, shape, choices, expert_out, view(out), static_cast<int>(blocks));
}

}  // namespace

void combine(Context& ctx, const Choices& choices, const Bf16* expert_out, Rows out) { sum(ctx, choices, expert_out, out); }
void combine(Context& ctx, const Choices& choices, const float* expert_out, Rows out) { sum(ctx, choices, expert_out, out); }

}  // namespace crossover::cuda::moe
