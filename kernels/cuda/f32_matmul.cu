// Products in f32: weights that are f32 (routers, gates of GDN: few rows) and whatever rows of the plain types no tensor core can read.
// Few tokens: a block per row, all projections in one launch. Of one token a thread asks for eight pieces of the row and of x before it uses any, so that
// rows of up to 4096 values take the latency of one reading (about 1.5 us), and of 5120 of two. More: a warp takes four rows and eight tokens, 32 sums a lane, 12 loads for 32 FMA; a router of 256 rows over 4096 tokens
// of 2048 (4.3 GFLOP) is bound by those loads from the L1 cache: 25 M of 128 bytes, 0.11 ms on 132 multiprocessors.
#include "kernels/cuda/launch.h"
#include "kernels/cuda/linear.h"
#include "kernels/cuda/view.h"

namespace crossover::cuda {
namespace {

constexpr int kRowThreads = 128, kTileThreads = 128, kTokens = 8, kTileRows = 4, kAhead = 8;

struct F32Job {
  const std::byte* weight;
  std::int64_t stride, rows, first_row;  // first_row: of the rows of all jobs
  View<float> out;
};

struct F32Jobs {
  F32Job jobs[kMaxProjections];
  int count;
  std::int64_t rows;
  View<const float> x;
};

__device__ __forceinline__ const F32Job& job_of(const F32Jobs& a, std::int64_t row) {
  int i = 0;
  while (i + 1 < a.count && row >= a.jobs[i + 1].first_row) ++i;
  return a.jobs[i];
}

// N values at a time: where rows of x and weights allow 16-byte accesses, four.
template <DType kType, int N>
__device__ __forceinline__ Values<N> weights_at(const std::byte* row, std::int64_t k) {
  if constexpr (N == 4) return load<4>(reinterpret_cast<const float*>(row) + k);
  else return {{value_at<kType>(row, k)}};
}

// A thread's share of a row times x.
template <DType kType, int N>
__device__ __forceinline__ float multiply_row(const std::byte* weight, const float* x, std::int64_t values) {
  constexpr int kStep = kRowThreads * N;
  float sum = 0;
  for (std::int64_t first = static_cast<std::int64_t>(threadIdx.x) * N; first < values; first += kStep * kAhead) {
    Values<N> w[kAhead], v[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const std::int64_t k = first + i * kStep;
      w[i] = v[i] = Values<N>{};
      if (k < values) w[i] = weights_at<kType, N>(weight, k), v[i] = load<N>(x + k);
    }
#pragma unroll
    for (int i = 0; i < kAhead; ++i)
#pragma unroll
      for (int j = 0; j < N; ++j) sum = fmaf(v[i].v[j], w[i].v[j], sum);
  }
  return sum;
}

// kMost: tokens; 1 or kTokens.
template <DType kType, int N, int kMost>
__global__ void __launch_bounds__(kRowThreads, kMost == 1 ? 4 : 8) f32_rows(const __grid_constant__ F32Jobs a) {
  wait_for_launches_before();
  __shared__ float partial[kRowThreads / kWarp];
  const F32Job& job = job_of(a, blockIdx.x);
  const std::int64_t row = blockIdx.x - job.first_row;
  const std::byte* const weight = job.weight + row * job.stride;
  if constexpr (kMost == 1) {
    const float sum = block_sum(multiply_row<kType, N>(weight, a.x.data, a.x.dim), partial);
    if (threadIdx.x == 0) job.out.data[row] = sum;
    return;
  }
  float sums[kTokens] = {};
  for (std::int64_t k = static_cast<std::int64_t>(threadIdx.x) * N; k < a.x.dim; k += kRowThreads * N) {
    const Values<N> w = weights_at<kType, N>(weight, k);
#pragma unroll
    for (int t = 0; t < kTokens; ++t) {
      if (t >= a.x.rows) break;
      const Values<N> x = load<N>(a.x.row(t) + k);
#pragma unroll
      for (int j = 0; j < N; ++j) sums[t] = fmaf(x.v[j], w.v[j], sums[t]);
    }
  }
#pragma unroll
  for (int t = 0; t < kTokens; ++t) {
    if (t >= a.x.rows) break;
    const float sum = block_sum(sums[t], partial);
    if (threadIdx.x == 0) job.out.row(t)[row] = sum;
  }
}

// Rows and tokens past the end repeat the last and are not stored.
template <DType kType, int N>
__global__ void __launch_bounds__(kTileThreads) f32_tiles(View<const float> x, const std::byte* weight, std::int64_t stride, View<float> out) {
  wait_for_launches_before();
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const std::int64_t row_0 = (static_cast<std::int64_t>(blockIdx.x) * (kTileThreads / kWarp) + threadIdx.x / kWarp) * kTileRows;
  const std::int64_t token_0 = static_cast<std::int64_t>(blockIdx.y) * kTokens;
  if (row_0 >= out.dim) return;
  float sums[kTileRows][kTokens] = {};
  for (std::int64_t k = static_cast<std::int64_t>(lane) * N; k < x.dim; k += kWarp * N) {
    Values<N> w[kTileRows];
#pragma unroll
    for (int r = 0; r < kTileRows; ++r) w[r] = weights_at<kType, N>(weight + min(row_0 + r, out.dim - 1) * stride, k);
#pragma unroll
    for (int t = 0; t < kTokens; ++t) {
      const Values<N> v = load<N>(x.row(min(token_0 + t, x.rows - 1)) + k);
#pragma unroll
      for (int r = 0; r < kTileRows; ++r)
#pragma unroll
        for (int j = 0; j < N; ++j) sums[r][t] = fmaf(v.v[j], w[r].v[j], sums[r][t]);
    }
  }
#pragma unroll
  for (int r = 0; r < kTileRows; ++r)
#pragma unroll
    for (int t = 0; t < kTokens; ++t) {
      const float sum = warp_sum(sums[r][t]);
      if (lane == 0 && row_0 + r < out.dim && token_0 + t < out.rows) out.row(token_0 + t)[row_0 + r] = sum;
    }
}

template <DType kType, int N>
void launch_f32(Context& ctx, const F32Jobs& a) {
  if (a.x.rows <= kTokens) {
    launch(ctx, "f32_rows", a.x.rows == 1 ? f32_rows<kType, N, 1> : f32_rows<kType, N, kTokens>, {dim3(static_cast<unsigned>(a.rows)), dim3(kRowThreads)}, a);
    return;
  }
  for (int i = 0; i < a.count; ++i) {
    const F32Job& job = a.jobs[i];
    launch(ctx, "f32_tiles", f32_tiles<kType, N>, {dim3(blocks_for(job.rows, kTileThreads / kWarp * kTileRows), blocks_for(a.x.rows, kTokens)), dim3(kTileThreads)}, a.x,
           job.weight, job.stride, job.out);
  }
}

}  // namespace

void f32_matmul(Context& ctx, ConstRows x, std::span<const Projection> projections) {
  F32Jobs a{};
  a.x = view(x);
  bool fours = in_fours(x);
  for (const Projection& p : projections) {
    const std::int64_t stride = x.dim > 0 ? p.weight.row_stride() : 0;
    fours = fours && aligned_16(p.weight.data) && stride % 16 == 0;
    a.jobs[a.count++] = {p.weight.data, stride, p.out.dim, a.rows, view(p.out)};
    a.rows += p.out.dim;
  }
  if (a.rows == 0) return;
  dispatch(x.dim == 0 ? DType::kF32 : projections[0].weight.dtype, [&]<DType kType>() {  // no values: zeros, whatever the type
    if constexpr (kType == DType::kF32) fours ? launch_f32<kType, 4>(ctx, a) : launch_f32<kType, 1>(ctx, a);
    else if constexpr (kType == DType::kF16 || kType == DType::kBF16) launch_f32<kType, 1>(ctx, a);
  });
}

}  // namespace crossover::cuda
