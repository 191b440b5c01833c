// Causal attention over a cache of any type: the choice of a kernel, the one that takes everything in f32, and what joins splits of the keys.
//
// attend_any is for f32 caches (scores and sums as exact as f32 gives them), for Q6_K and for heads other than 256. Per key and 16 query rows it does
// 2 * 16 * dim FMAs by units that give an H100 67 TFLOP/s; of those about a third goes to reading operands from shared memory. 82 KiB of shared
// memory for heads of 256 leave room for two blocks of four warps (one on sm_80).
//
// join_splits reads splits * (dim + 2) floats a row, all but always from L2: 16 heads and 132 splits are 2 MiB, 1 us when eight warps share a row.
#include <stdexcept>
#include <string>

#include "kernels/cuda/attention_rows.h"
#include "kernels/cuda/cache_values.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/launch.h"

namespace crossover::cuda {
namespace {

constexpr int kAnyThreads = 128, kAnyWarps = kAnyThreads / kWarp, kRowsEach = kAnyRows / kAnyWarps;
constexpr int kJoinThreads = 256, kJoinWarps = kJoinThreads / kWarp;
constexpr float kLog2E = 1.4426950408889634f;

// Tiles in shared memory, rows of `dim` rounded up to four. Keys one float further apart, so that lanes that read one column of 32 keys
// reach 32 banks; queries are read by all lanes at once and values along a row.
struct AnyTiles {
  int dim;
  float *queries, *keys, *values;
  __device__ explicit AnyTiles(int d)
      : dim((d + 3) / 4 * 4), queries(dynamic_shared<float>()), keys(queries + kAnyRows * dim), values(keys + kAnyKeys * (dim + 1)) {}
};
std::size_t any_shared(std::int64_t d) {
  const std::int64_t dim = (d + 3) / 4 * 4;
  return static_cast<std::size_t>(kAnyRows * dim + kAnyKeys * (dim + 1) + kAnyKeys * dim) * sizeof(float);
}

__device__ void load_any_tile(const CacheView& cache, int kv_head, std::int64_t first, int count, int dim, float* to, int stride) {
  const int padded = (dim + 3) / 4 * 4, pieces = (padded + kLaneValues - 1) / kLaneValues;
  for (int i = static_cast<int>(threadIdx.x); i < kAnyKeys * pieces; i += kAnyThreads) {
    const int key = i / pieces, piece = i % pieces, at = piece * kLaneValues;
    float x[kLaneValues] = {};
    if (key < count) read_piece(cache.type, cache.row(first + key, kv_head), piece, min(dim - at, kLaneValues), x);
#pragma unroll
    for (int j = 0; j < kLaneValues; ++j)
      if (at + j < padded) to[key * stride + at + j] = x[j];
  }
}

// Lane l's scores of key l against the warp's rows.
__device__ void score_any(const AnyTiles& t, int warp, float (&scores)[kRowsEach]) {
  const float* const key = t.keys + lane_of_thread() * (t.dim + 1);
  const float* const queries = t.queries + warp * kRowsEach * t.dim;
#pragma unroll
  for (int r = 0; r < kRowsEach; ++r) scores[r] = 0.0f;
  for (int i = 0; i < t.dim; i += 4) {
    const float k[4] = {key[i], key[i + 1], key[i + 2], key[i + 3]};
#pragma unroll
    for (int r = 0; r < kRowsEach; ++r) {
      const float4 q = *reinterpret_cast<const float4*>(queries + r * t.dim + i);
      scores[r] += q.x * k[0] + q.y * k[1] + q.z * k[2] + q.w * k[3];
    }
  }
}

// Lane l sums columns l, l + 32, ..
struct AnyRow {
  float top = -INFINITY, sum = 0.0f, columns[kLaneValues] = {};
};

__device__ void weigh_any(const AnyTiles& t, float score, AnyRow& row) {
  const float top = fmaxf(row.top, warp_max(score)), base = score_base(top), factor = fast_exp2(row.top - base), weight = fast_exp2(score - base);
  row.top = top, row.sum = row.sum * factor + weight;
#pragma unroll
  for (int j = 0; j < kLaneValues; ++j) row.columns[j] *= factor;
  for (int key = 0; key < kAnyKeys; ++key) {
    const float w = __shfl_sync(kAllLanes, weight, key);
#pragma unroll
    for (int j = 0; j < kLaneValues; ++j) {
      const int column = lane_of_thread() + j * kWarp;
      if (column < t.dim) row.columns[j] += w * t.values[key * t.dim + column];
    }
  }
}

__global__ void __launch_bounds__(kAnyThreads, 2) attend_any_rows(AttentionArgs a) {
  wait_for_launches_before();
  const AnyTiles t(a.dim);
  const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = lane_of_thread(), kv_head = static_cast<int>(blockIdx.z), split = static_cast<int>(blockIdx.y);
  const int first_row = static_cast<int>(blockIdx.x) * kAnyRows + warp * kRowsEach;
  AnyRow rows[kRowsEach];
  for (int r = 0; r < kRowsEach; ++r) {
    float x[kLaneValues];
    read_query(a, kv_head, first_row + r, x);
    write_lane(t.queries + (warp * kRowsEach + r) * t.dim, t.dim, x);
  }
  const int last_row = min(static_cast<int>(blockIdx.x + 1) * kAnyRows, a.rows) - 1;
  const std::int64_t begin = split * a.split_keys, end = min(begin + a.split_keys, a.visible(last_row));
  for (std::int64_t first = begin; first < end; first += kAnyKeys) {
    const int count = static_cast<int>(min(end - first, static_cast<std::int64_t>(kAnyKeys)));
    __syncthreads();  // the tile before has been used
    load_any_tile(a.keys, kv_head, first, count, a.dim, t.keys, t.dim + 1);
    load_any_tile(a.values, kv_head, first, count, a.dim, t.values, t.dim);
    __syncthreads();
    float scores[kRowsEach];
    score_any(t, warp, scores);
#pragma unroll
    for (int r = 0; r < kRowsEach; ++r) weigh_any(t, lane < count && first + lane < a.visible(first_row + r) ? scores[r] : -INFINITY, rows[r]);
  }
  // From columns l, l + 32, .. to 8l, 8l + 1, .. through the warp's own queries, which are done with.
#pragma unroll
  for (int r = 0; r < kRowsEach; ++r) {
    float* const row = t.queries + (warp * kRowsEach + r) * t.dim;
    __syncwarp();
#pragma unroll
    for (int j = 0; j < kLaneValues; ++j)
      if (lane + j * kWarp < t.dim) row[lane + j * kWarp] = rows[r].columns[j];
    __syncwarp();
    float x[kLaneValues];
    read_lane(row, a.dim, x);
    leave_row(a, kv_head, split, first_row + r, x, rows[r].top, warp_sum(rows[r].sum));
  }
}

void attend_any(Context& ctx, const AttentionArgs& a, const AttentionPlan& plan) {
  launch(ctx, "attention", attend_any_rows,
         {dim3(static_cast<unsigned>(plan.tiles), static_cast<unsigned>(a.splits), static_cast<unsigned>(a.heads / a.group)), dim3(kAnyThreads), any_shared(a.dim)}, a);
}

// A block for each row of out: warps take splits in turn, their sums are added in the order of the warps.
__global__ void __launch_bounds__(kJoinThreads) join_splits(AttentionArgs a) {
  wait_for_launches_before();
  __shared__ float sums[kJoinWarps][kWarpValues], weights[kJoinWarps];
  const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = lane_of_thread(), row = static_cast<int>(blockIdx.x), kv_head = static_cast<int>(blockIdx.y);
  float top = -INFINITY;
  for (int s = lane; s < a.splits; s += kWarp) top = fmaxf(top, a.part_stats(a.part(kv_head, s, row))[0]);
  top = warp_max(top);
  float total = 0.0f, x[kLaneValues] = {};
#pragma unroll 4
  for (int s = warp; s < a.splits; s += kJoinWarps) {
    const std::int64_t part = a.part(kv_head, s, row);
    const float weight = fast_exp2(a.part_stats(part)[0] - top);
    float more[kLaneValues];
    read_lane(a.part_sums(part), a.dim, more);
    total += weight * a.part_stats(part)[1];
#pragma unroll
    for (int j = 0; j < kLaneValues; ++j) x[j] += weight * more[j];
  }
  write_lane(sums[warp], kWarpValues, x);
  if (lane == 0) weights[warp] = total;
  __syncthreads();
  if (warp > 0) return;
  for (int w = 1; w < kJoinWarps; ++w) {
    float more[kLaneValues];
    read_lane(sums[w], kWarpValues, more);
    total += weights[w];
#pragma unroll
    for (int j = 0; j < kLaneValues; ++j) x[j] += more[j];
  }
  finish_row(a, kv_head, row, x, total);
}

CacheView cache_view(const KvCache& cache, std::int64_t dim) {
  return {reinterpret_cast<const std::uint8_t*>(cache.rows.data), cache.rows.row_stride(), row_bytes(cache.rows.dtype, dim), cache.rows.dtype, cache.rotation};
}

bool aligned(const CacheView& cache) { return aligned_16(cache.data) && cache.stride % 16 == 0 && cache.head_bytes % 16 == 0; }

const char* path_of(const AttentionPlan& plan, const AttentionArgs& a) {
  const bool bf16 = product_type(a.keys.type, a.values.type) == DType::kBF16;
  switch (plan.kernel) {
    case AttentionKernel::kAny: return "fma-f32";
    case AttentionKernel::kFew: return bf16 ? "mma-bf16-split" : "mma-f16-split";
    case AttentionKernel::kTiles: return bf16 ? "mma-bf16-tile" : "mma-f16-tile";
    case AttentionKernel::kWarpgroups: return bf16 ? "wgmma-bf16-tile" : "wgmma-f16-tile";
  }
  return "unknown";
}

}  // namespace

void attention(Context& ctx, const Attention& a, Rows out) {
  if (out.dim > kWarpValues)
    throw std::invalid_argument("attention on the cuda backend needs heads of at most " + std::to_string(kWarpValues) + ", found " + std::to_string(out.dim) +
                                "; use the reference backend");
  AttentionArgs args{view(a.q), view(a.gate), view(out), cache_view(a.keys, out.dim), cache_view(a.values, out.dim), a.past,
                     static_cast<int>(out.rows / a.kv_heads), static_cast<int>(a.heads), static_cast<int>(a.heads / a.kv_heads),
                     static_cast<int>(out.dim), a.scale * kLog2E, nullptr, 1, 0};
  const AttentionPlan plan = plan_attention({out.rows / a.heads, a.past, a.heads, a.kv_heads, out.dim, args.keys.type, args.values.type,
                                             aligned(args.keys) && aligned(args.values), ctx.device->uses_warpgroups()},
                                            ctx.device->facts().shared_bytes);
  args.splits = static_cast<int>(plan.splits), args.split_keys = plan.split_keys;
  if (args.splits > 1) args.parts = ctx.workspace.floats("attention.parts", static_cast<std::size_t>(out.rows * plan.splits * (out.dim + 2)));
  ctx.counters.path("attention", path_of(plan, args));
  switch (plan.kernel) {
    case AttentionKernel::kAny: attend_any(ctx, args, plan); break;
    case AttentionKernel::kFew: attend_few(ctx, args, plan); break;
    case AttentionKernel::kTiles: attend_tiles(ctx, args, plan); break;
    case AttentionKernel::kWarpgroups: attend_warpgroups(ctx, args, plan); break;
  }
  if (args.splits > 1)
    launch(ctx, "attention.join", join_splits, {dim3(static_cast<unsigned>(args.rows), static_cast<unsigned>(a.kv_heads)), dim3(kJoinThreads)}, args);
}

}  // namespace crossover::cuda
