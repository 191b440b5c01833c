// Decode: the projections of one x that share a type, in one launch (matvec_tile.h says how and why).
#include "kernels/cuda/matvec_tile.h"

#include <algorithm>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/linear.h"
#include "kernels/cuda/view.h"

namespace crossover::cuda {
namespace {

constexpr int kMostWarps = 8, kSlots = 2, kBlocksPerMultiprocessor = 2;

struct Job {
  WeightRows weight, up;
  View<float> out;
  int first_tile, last_tile;
  bool paired;

  __device__ int rows_per_tile() const { return paired ? 8 : 16; }
};

struct Jobs {
  Job jobs[kMaxProjections];
  int count, tiles;
  const float* x;
  std::int64_t x_stride, values;
  int tokens, slices;
  bool fours;
};

__device__ __forceinline__ const Job& job_of(const Jobs& a, int tile) {
  int i = 0;
  while (i + 1 < a.count && tile >= a.jobs[i + 1].first_tile) ++i;
  return a.jobs[i];
}

__device__ __forceinline__ MatvecRows rows_of(const Jobs& a, int tile) {
  const Job& job = job_of(a, tile);
  const std::int64_t row = static_cast<std::int64_t>(tile - job.first_tile) * job.rows_per_tile();
  return {job.weight, job.up, row, row + (job.paired ? 0 : 8), tile > job.first_tile && tile < job.last_tile};
}

// Sums of all warps in order, and what becomes of them. partial: [warps][16 rows][8 tokens].
__device__ __forceinline__ void finish(const Jobs& a, int tile, const float* partial) {
  const int warps = static_cast<int>(blockDim.x) / kWarp;
  const Job& job = job_of(a, tile);
  const int rows = job.rows_per_tile();
  const std::int64_t row_0 = static_cast<std::int64_t>(tile - job.first_tile) * rows;
  const auto sum = [&](int row, int token) {
    float total = 0;
    for (int w = 0; w < warps; ++w) total += partial[(w * 16 + row) * 8 + token];
    return total;
  };
  for (int i = static_cast<int>(threadIdx.x); i < rows * a.tokens; i += static_cast<int>(blockDim.x)) {
    const int row = i & (rows - 1), token = i >> (job.paired ? 3 : 4);  // rows: 8 or 16
    if (row_0 + row >= job.out.dim) continue;
    job.out.row(token)[row_0 + row] = job.paired ? silu(sum(row, token)) * sum(row + 8, token) : sum(row, token);
  }
}

template <DType kType, int kTokens>
__global__ void __launch_bounds__(kMostWarps* kWarp, kBlocksPerMultiprocessor) matvec_kernel(const __grid_constant__ Jobs a) {
  wait_for_launches_before();
  using Tile = MatvecTile<kType, kTokens>;
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp, warps = static_cast<int>(blockDim.x) / kWarp;
  std::byte* const slots = dynamic_shared<std::byte>() + warp * kSlots * Tile::kSlotBytes;
  float* const partial = reinterpret_cast<float*>(dynamic_shared<std::byte>() + warps * kSlots * Tile::kSlotBytes);
  const typename Tile::Activations x{a.x, a.x_stride, a.values, a.tokens, a.fours};
  int next_tile = static_cast<int>(blockIdx.x), next_slice = warp, filled = 0;
  const auto load_next = [&] {
    if (next_tile < a.tiles) {
      Tile::load(slots + filled % kSlots * Tile::kSlotBytes, next_slice, rows_of(a, next_tile), x);
      ++filled;
      next_slice += warps;
      if (next_slice >= a.slices) next_slice = warp, next_tile += static_cast<int>(gridDim.x);
    }
    copy_async_commit();
  };
  load_next();
  int read = 0;
  for (int tile = static_cast<int>(blockIdx.x); tile < a.tiles; tile += static_cast<int>(gridDim.x)) {
    const MatvecRows rows = rows_of(a, tile);
    float sums[4] = {};
    for (int slice = warp; slice < a.slices; slice += warps, ++read) {
      load_next();
      copy_async_wait<kSlots - 1>();
      __syncwarp();
      Tile::multiply(slots + read % kSlots * Tile::kSlotBytes, slice, rows, x, sums);
      __syncwarp();
    }
    Tile::gather(sums);
#pragma unroll
    for (int i = 0; i < 4; ++i) partial[(warp * 16 + lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = sums[i];
    __syncthreads();
    finish(a, tile, partial);
    __syncthreads();
  }
}

template <DType kType, int kTokens>
void launch_matvec(Context& ctx, Jobs& jobs) {
  using Tile = MatvecTile<kType, kTokens>;
  jobs.slices = static_cast<int>((jobs.values + Tile::kSlice - 1) / Tile::kSlice);
  const std::size_t per_warp = kSlots * Tile::kSlotBytes + 16 * 8 * sizeof(float), most = ctx.device->facts().shared_bytes;
  const int warps = std::min({kMostWarps, jobs.slices, static_cast<int>(most / per_warp)});
  const int blocks = std::min(jobs.tiles, ctx.device->facts().multiprocessors * kBlocksPerMultiprocessor);
  launch(ctx, "matvec", matvec_kernel<kType, kTokens>,
         {dim3(static_cast<unsigned>(blocks)), dim3(static_cast<unsigned>(warps * kWarp)), static_cast<std::size_t>(warps) * per_warp}, jobs);
}

}  // namespace

void matvec(Context& ctx, ConstRows x, std::span<const Projection> projections) {
  Jobs jobs{};
  for (const Projection& p : projections) {
    if (p.out.dim == 0) continue;
    const bool paired = p.up.data != nullptr;
    Job& job = jobs.jobs[jobs.count++];
    const int first_tile = jobs.tiles;
    jobs.tiles += static_cast<int>(blocks_for(p.out.dim, paired ? 8 : 16));
    job = {weight_rows(p.weight), weight_rows(paired ? p.up : p.weight), view(p.out), first_tile, jobs.tiles - 1, paired};
  }
  if (jobs.tiles == 0) return;
  jobs.x = x.data, jobs.x_stride = x.stride, jobs.values = x.dim, jobs.tokens = static_cast<int>(x.rows), jobs.fours = in_fours(x);
  dispatch(projections[0].weight.dtype, [&]<DType kType>() {
    if constexpr (tuned(kType)) {
      if (x.rows == 1) launch_matvec<kType, 1>(ctx, jobs);
      else if (x.rows <= 4) launch_matvec<kType, 4>(ctx, jobs);
      else launch_matvec<kType, 8>(ctx, jobs);
    } else if constexpr (kType != DType::kF32) {
      launch_matvec<kType, 8>(ctx, jobs);
    }
  });
}

}  // namespace crossover::cuda
