// What happens to heads before attention: RMS norm with RoPE, and rotations. Bound by memory: a row is read once from DRAM and written once.
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/view.h"
#include "kernels/cuda/warp_row.h"

namespace crossover::cuda {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / kWarp;

__device__ std::int64_t warp_of_grid() { return static_cast<std::int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp; }

struct NormRope {
  View<float> x;
  const float* weight;  // [dim]
  float eps;
  std::int64_t heads;
  View<const float> angles;
};

// Heads of 256 whose first 64 values turn. Lane l holds values l, l + 32, ..: both of its pair (l, l + 32), so nothing is exchanged, and every
// access is 128 consecutive bytes at any alignment.
__global__ void __launch_bounds__(kThreads) norm_rope_256_64(NormRope op) {
  wait_for_launches_before();
  constexpr int kEach = 256 / kWarp;
  const std::int64_t row = warp_of_grid();
  if (row >= op.x.rows) return;
  const int lane = lane_of_thread();
  float* const x = op.x.row(row) + lane;
  const float* const angle = op.angles.row(static_cast<unsigned>(row) / static_cast<unsigned>(op.heads)) + lane;  // no grid has more rows
  float v[kEach], weight[kEach], squares = 0;
#pragma unroll
  for (int j = 0; j < kEach; ++j) v[j] = x[j * kWarp], weight[j] = op.weight[lane + j * kWarp];  // before the sum: one trip to memory, not two
  const float c = angle[0], s = angle[kWarp];
#pragma unroll
  for (int j = 0; j < kEach; ++j) squares += v[j] * v[j];
  const float factor = 1.0f / sqrtf(warp_sum(squares) / 256.0f + op.eps);
#pragma unroll
  for (int j = 0; j < kEach; ++j) v[j] *= factor * weight[j];
  const float first = v[0], second = v[1];
  v[0] = first * c - second * s, v[1] = second * c + first * s;
#pragma unroll
  for (int j = 0; j < kEach; ++j) x[j * kWarp] = v[j];
}

// Any sizes. A lane reads and writes both values of its pairs, so that the row may change in place.
__global__ void __launch_bounds__(kThreads) norm_rope_any(NormRope op) {
  wait_for_launches_before();
  const std::int64_t row = warp_of_grid();
  if (row >= op.x.rows) return;
  const std::int64_t dim = op.x.dim, half = op.angles.dim / 2;
  float* const x = op.x.row(row);
  const float* const angle = op.angles.row(row / op.heads);
  float squares = 0;
  for (std::int64_t i = lane_of_thread(); i < dim; i += kWarp) squares += x[i] * x[i];
  const float factor = 1.0f / sqrtf(warp_sum(squares) / static_cast<float>(dim) + op.eps);
  for (std::int64_t i = lane_of_thread(); i < half; i += kWarp) {
    const float c = angle[i], s = angle[i + half], first = x[i] * (factor * op.weight[i]), second = x[i + half] * (factor * op.weight[i + half]);
    x[i] = first * c - second * s, x[i + half] = second * c + first * s;
  }
  for (std::int64_t i = 2 * half + lane_of_thread(); i < dim; i += kWarp) x[i] *= factor * op.weight[i];
}

// A warp turns 256 values of a row: whole heads, or whole blocks of 128.
__global__ void __launch_bounds__(kThreads) rotate_rows(View<float> x, int head_dim, Rotation rotation, bool back) {
  wait_for_launches_before();
  const std::int64_t chunks = (x.dim + kWarpValues - 1) / kWarpValues, warp = warp_of_grid();
  if (warp >= x.rows * chunks) return;
  const std::int64_t first = warp % chunks * kWarpValues;
  float* const at = x.row(warp / chunks) + first;
  float v[kLaneValues];
  read_lane(at, x.dim - first, v);
  rotate_lane(v, rotation, back, head_dim);
  write_lane(at, x.dim - first, v);
}

}  // namespace

void norm_rope(Context& ctx, Rows x, const float* weight, float eps, std::int64_t heads, ConstRows angles) {
  const NormRope op{view(x), weight, eps, heads, view(angles)};
  const Shape shape{dim3(blocks_for(x.rows, kWarps)), dim3(kThreads)};
  if (x.dim == 256 && angles.dim == 64) launch(ctx, "norm_rope", norm_rope_256_64, shape, op);
  else launch(ctx, "norm_rope", norm_rope_any, shape, op);
}

void rotate(Context& ctx, Rows x, Rotation rotation, bool back) {
  const Shape shape{dim3(blocks_for(x.rows * ((x.dim + kWarpValues - 1) / kWarpValues), kWarps)), dim3(kThreads)};
  launch(ctx, "rotate", rotate_rows, shape, view(x), static_cast<int>(x.dim), rotation, back);
}

}  // namespace crossover::cuda
