// The short convolution of a Gated DeltaNet layer and its gates, as operations of their own. Bound by memory: 11 rows are read for 8 written,
// the 3 that two threads share come from the cache. The engine's layers call gdn_mixer, which has both built in.
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/gdn_inputs.h"

namespace crossover::cuda {
namespace {

constexpr int kThreads = 256, kTokens = 8;

__global__ void __launch_bounds__(kThreads) conv_rows(View<const float> x, const float* taps, const float* state, View<float> out) {
  wait_for_launches_before();
  const std::int64_t channel = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x, first = static_cast<std::int64_t>(blockIdx.y) * kTokens;
  if (channel >= x.dim) return;
  Values<4> weight;
#pragma unroll
  for (int i = 0; i < 4; ++i) weight.v[i] = taps[4 * channel + i];
  float window[kTokens + 3];
#pragma unroll
  for (int i = 0; i < kTokens + 3; ++i) {
    const std::int64_t t = first + i - 3;
    window[i] = t >= x.rows ? 0.0f : t < 0 ? state[(t + 3) * x.dim + channel] : x.row(t)[channel];
  }
#pragma unroll
  for (int i = 0; i < kTokens; ++i)
    if (first + i < x.rows) out.row(first + i)[channel] = convolve(window[i], window[i + 1], window[i + 2], window[i + 3], weight);
}

__global__ void __launch_bounds__(kThreads) keep_rows(View<const float> x, float* state) {
  wait_for_launches_before();
  const std::int64_t channel = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (channel < x.dim) keep_inputs_of(x, state, channel);
}

struct GateRows {
  View<const float> a, b;
  const float *ssm_a, *dt_bias;
  View<float> g, beta;
};

__global__ void __launch_bounds__(kThreads) gate_rows(GateRows op) {
  wait_for_launches_before();
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x, t = i / op.a.dim, h = i % op.a.dim;
  if (t >= op.a.rows) return;
  const GdnGates gates = gates_of(op.a.row(t)[h], op.b.row(t)[h], op.ssm_a[h], op.dt_bias[h]);
  op.g.row(t)[h] = gates.g, op.beta.row(t)[h] = gates.beta;
}

}  // namespace

void keep_inputs(Context& ctx, ConstRows x, float* state) {
  launch(ctx, "conv state", keep_rows, {dim3(blocks_for(x.dim, kThreads)), dim3(kThreads)}, view(x), state);
}

void conv1d_silu(Context& ctx, ConstRows x, const Tensor& weight, float* state, Rows out) {
  const Shape shape{dim3(blocks_for(x.dim, kThreads), blocks_for(x.rows, kTokens)), dim3(kThreads)};
  launch(ctx, "conv1d_silu", conv_rows, shape, view(x), weight.f32(), state, view(out));
  keep_inputs(ctx, x, state);
}

void gdn_gates(Context& ctx, ConstRows a, ConstRows b, const float* ssm_a, const float* dt_bias, Rows g, Rows beta) {
  const GateRows rows{view(a), view(b), ssm_a, dt_bias, view(g), view(beta)};
  launch(ctx, "gdn_gates", gate_rows, {dim3(blocks_for(a.rows * a.dim, kThreads)), dim3(kThreads)}, rows);
}

}  // namespace crossover::cuda
