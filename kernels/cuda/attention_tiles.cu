// Attention of many tokens: 128 (or 64) query rows a block, tokens and heads of a group packed, so that a tile of keys serves all of them.
//
// 4 * 256 flops per query row and key against the tensor cores; 2 * 512 bytes per key and tile of rows come from L2: 128 rows need 3 TB/s of an H100's
// L2 at 400 TFLOP/s, 64 rows twice that. Sums of 16 rows x 256 are 128 registers a thread, scores of 16 x 64 another 32, so a warp owns 16 rows and a
// multiprocessor holds 8 warps. Queries (64 KiB), a tile of 64 keys and one of values (32 KiB each): 128 KiB, one block on sm_80 and sm_90; 64 rows
// fit the 99 KiB of sm_86 and sm_89, and two such blocks sm_90. Values arrive during scores, the next keys during the product with the values.
//
// What bounds it is shared memory: 16 rows a warp read every fragment of keys and values for themselves, 256 bytes a product m16n8k16 and the
// queries' 64 besides: 128 bytes a cycle allow 0.4 products a cycle and multiprocessor, 390 TFLOP/s of an H100 at 1.75 GHz, whose mma.sync peaks near
// 620. Expected 280-320 (FlashAttention-2, of the same structure, 298; FlashAttention-3 628). wgmma reads keys and values from shared memory once for
// 64 rows, and its 128 x 80 tile with two consumer groups hides the exponentials: it would double this. On sm_80 the same products a cycle are the
// tensor cores' peak; expected 55-65 % of 312.
//
// A tile needs masks only where it crosses the diagonal; blocks with most keys start first. Other types than halves are turned into halves once
// for all tiles of rows, in scratch memory (1 KiB a token and KV head): 0.4 % of the time at 8192 tokens.
#include "kernels/cuda/attention_halves.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/launch.h"

namespace crossover::cuda {
namespace {

constexpr int kWarpRows = 16, kSteps = 16, kKeyPairs = kTileKeys / 16;  // kSteps: of 16 values along a head; kKeyPairs: of two columns of products
constexpr int kConvertThreads = 256;
constexpr int kTileBytes = kTileKeys * kTileRowBytes;

// A thread for every eight values: [kv_heads, keys, 256].
template <class E>
__global__ void __launch_bounds__(kConvertThreads) convert_cache(CacheView from, std::int64_t keys, std::int64_t pieces, uint4* to) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kConvertThreads + threadIdx.x;
  if (i >= pieces) return;
  const std::int64_t row = i / kTilePieces;
  to[i] = piece_of<E>(from.type, from.row(row % keys, static_cast<int>(row / keys)), static_cast<int>(i % kTilePieces));
}

template <int kWarps>
__device__ __forceinline__ void copy_tile(const CacheView& cache, int kv_head, std::int64_t first, std::int64_t end, std::uint8_t* tile) {
  const int lane = lane_of_thread(), warp = static_cast<int>(threadIdx.x) / kWarp;
#pragma unroll
  for (int key = warp; key < kTileKeys; key += kWarps) copy_async_16(tile + tile_at(key, lane), cache.row(min(first + key, end - 1), kv_head) + lane * 16);
}

// Rows g and g + 8 of the warp's.
struct TileState {
  float sums[2 * kSteps][4];  // 8 values of the head each
  float top[2], sum[2];       // sum: over this lane's keys only
};

// Scores [16 rows, 64 keys].
template <class E>
__device__ __forceinline__ void score_tile(const std::uint8_t* queries, const std::uint8_t* keys, float (&scores)[2 * kKeyPairs][4]) {
  const int lane = lane_of_thread();
  const TileLane query(queries, lane % 16, lane / 16), key(keys, lane / 16 * 8 + lane % 8, lane / 8 % 2);
#pragma unroll
  for (int i = 0; i < 2 * kKeyPairs; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j) scores[i][j] = 0.0f;
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
    unsigned a[4];
    load_matrices(a, query.step(step));
#pragma unroll
    for (int pair = 0; pair < kKeyPairs; ++pair) {
      unsigned b[4];
      load_matrices(b, key.step(step) + pair * 16 * kTileRowBytes);
      multiply<E>(scores[2 * pair], a, {b[0], b[1]});
      multiply<E>(scores[2 * pair + 1], a, {b[2], b[3]});
    }
  }
}

// limits: keys from `first` on that rows g and g + 8 see.
__device__ __forceinline__ void mask_tile(const int (&limits)[2], float (&scores)[2 * kKeyPairs][4]) {
  const int key = lane_of_thread() % 4 * 2;
#pragma unroll
  for (int i = 0; i < 2 * kKeyPairs; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j)
      if (i * 8 + key + j % 2 >= limits[j / 2]) scores[i][j] = -INFINITY;
}

// Scores become weights; sums are rescaled only when a maximum of the warp's rows has grown.
__device__ __forceinline__ void weigh_tile(float (&scores)[2 * kKeyPairs][4], TileState& state) {
  float top[2];
  bool grown = false;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float x = -INFINITY;
#pragma unroll
    for (int i = 0; i < 2 * kKeyPairs; ++i) x = fmaxf(x, fmaxf(scores[i][2 * r], scores[i][2 * r + 1]));
    x = fmaxf(x, __shfl_xor_sync(kAllLanes, x, 1));
    x = fmaxf(x, __shfl_xor_sync(kAllLanes, x, 2));
    top[r] = fmaxf(state.top[r], x);
    grown |= x > state.top[r];
  }
  if (__any_sync(kAllLanes, grown)) {
    const float factor[2] = {fast_exp2(state.top[0] - score_base(top[0])), fast_exp2(state.top[1] - score_base(top[1]))};
#pragma unroll
    for (int r = 0; r < 2; ++r) state.top[r] = top[r], state.sum[r] *= factor[r];
#pragma unroll
    for (int i = 0; i < 2 * kSteps; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j) state.sums[i][j] *= factor[j / 2];
  }
  const float base[2] = {score_base(state.top[0]), score_base(state.top[1])};
#pragma unroll
  for (int i = 0; i < 2 * kKeyPairs; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      scores[i][j] = fast_exp2(scores[i][j] - base[j / 2]);
      state.sum[j / 2] += scores[i][j];
    }
}

// The scores' registers are a fragment of the weights as they are.
template <class E>
__device__ __forceinline__ void add_tile(const std::uint8_t* values, const float (&weights)[2 * kKeyPairs][4], TileState& state) {
  const int lane = lane_of_thread();
  const TileLane value(values, lane / 8 % 2 * 8 + lane % 8, lane / 16);
#pragma unroll
  for (int pair = 0; pair < kKeyPairs; ++pair) {
    const auto& low = weights[2 * pair];
    const auto& high = weights[2 * pair + 1];
    const unsigned a[4] = {pack<E>(low[0], low[1]), pack<E>(low[2], low[3]), pack<E>(high[0], high[1]), pack<E>(high[2], high[3])};
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      unsigned b[4];
      load_matrices_transposed(b, value.step(step) + pair * 16 * kTileRowBytes);
      multiply<E>(state.sums[2 * step], a, {b[0], b[1]});
      multiply<E>(state.sums[2 * step + 1], a, {b[2], b[3]});
    }
  }
}

// Through the warp's own 16 KiB of shared memory, so that rows leave whole: [16, 256] floats, groups of four permuted by the row as tile_at does.
__device__ void leave_rows(const AttentionArgs& a, TileState& state, float* rows, int kv_head, int split, int first_row) {
  const int lane = lane_of_thread(), g = lane / 4, t = lane % 4;
  const auto at = [&](int row, int four) { return rows + row * kWarpValues + (four ^ (row & 7)) * 4; };
#pragma unroll
  for (int i = 0; i < 2 * kSteps; ++i)
#pragma unroll
    for (int r = 0; r < 2; ++r)
      *reinterpret_cast<float2*>(at(g + 8 * r, 2 * i + t / 2) + t % 2 * 2) = make_float2(state.sums[i][2 * r], state.sums[i][2 * r + 1]);
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    state.sum[r] += __shfl_xor_sync(kAllLanes, state.sum[r], 1);
    state.sum[r] += __shfl_xor_sync(kAllLanes, state.sum[r], 2);
  }
  __syncwarp();
#pragma unroll 1
  for (int row = 0; row < kWarpRows; ++row) {
    const float top = __shfl_sync(kAllLanes, row < 8 ? state.top[0] : state.top[1], row % 8 * 4);
    const float sum = __shfl_sync(kAllLanes, row < 8 ? state.sum[0] : state.sum[1], row % 8 * 4);
    const float4 low = *reinterpret_cast<const float4*>(at(row, 2 * lane)), high = *reinterpret_cast<const float4*>(at(row, 2 * lane + 1));
    float x[kLaneValues] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
    leave_row(a, kv_head, split, first_row + row, x, top, sum);
  }
}

// Grid: (KV head, tile of query rows, the last first), splits. Caches are of type E, every head's row at 16 bytes.
template <class E, int kWarps>
__global__ void __launch_bounds__(kWarps * kWarp) attend_tile(AttentionArgs a) {
  const int warp = static_cast<int>(threadIdx.x) / kWarp, kv_heads = a.heads / a.group, kv_head = static_cast<int>(blockIdx.x) % kv_heads;
  const int split = static_cast<int>(blockIdx.y), tile = static_cast<int>(gridDim.x) / kv_heads - 1 - static_cast<int>(blockIdx.x) / kv_heads;
  const int block_row = tile * kWarps * kWarpRows, first_row = block_row + warp * kWarpRows;
  std::uint8_t* const queries = dynamic_shared<std::uint8_t>() + warp * kWarpRows * kTileRowBytes;
  std::uint8_t* const keys = dynamic_shared<std::uint8_t>() + kWarps * kWarpRows * kTileRowBytes;
  std::uint8_t* const values = keys + kTileBytes;
  const std::int64_t begin = split * a.split_keys, end = min(begin + a.split_keys, a.visible(min(block_row + kWarps * kWarpRows, a.rows) - 1));
  if (begin < end) copy_tile<kWarps>(a.keys, kv_head, begin, end, keys);
  copy_async_commit();
#pragma unroll 1
  for (int row = 0; row < kWarpRows; ++row) {
    float x[kLaneValues];
    read_query(a, kv_head, first_row + row, x);
    store_query<E>(queries, row, x);
  }
  TileState state{};
  state.top[0] = state.top[1] = -INFINITY;
  const std::int64_t seen[2] = {min(a.visible(first_row + lane_of_thread() / 4), end), min(a.visible(first_row + lane_of_thread() / 4 + 8), end)};
  const std::int64_t all_see = min(a.visible(first_row), end);
  for (std::int64_t first = begin; first < end; first += kTileKeys) {
    copy_async_wait<0>();
    __syncthreads();  // keys have come; the values before have been used
    copy_tile<kWarps>(a.values, kv_head, first, end, values);
    copy_async_commit();
    float scores[2 * kKeyPairs][4];
    score_tile<E>(queries, keys, scores);
    if (first + kTileKeys > all_see) {
      const auto left = [&](std::int64_t limit) { return static_cast<int>(max(min(limit - first, static_cast<std::int64_t>(kTileKeys)), std::int64_t{0})); };
      mask_tile({left(seen[0]), left(seen[1])}, scores);
    }
    weigh_tile(scores, state);
    copy_async_wait<0>();
    __syncthreads();  // values have come; keys have been used
    if (first + kTileKeys < end) copy_tile<kWarps>(a.keys, kv_head, first + kTileKeys, end, keys);
    copy_async_commit();
    add_tile<E>(values, scores, state);
  }
  copy_async_wait<0>();
  __syncthreads();
  leave_rows(a, state, reinterpret_cast<float*>(dynamic_shared<std::uint8_t>()) + warp * kWarpRows * kWarpValues, kv_head, split, first_row);
}

// The cache itself where it has the tiles' type and alignment, else a copy in scratch memory.
template <class E>
CacheView tiles_of(Context& ctx, const CacheView& cache, const char* name, std::int64_t keys, std::int64_t kv_heads) {
  if (cache.type == kTypeOf<E> && aligned_16(cache.data) && cache.stride % 16 == 0) return cache;
  const std::int64_t pieces = keys * kv_heads * kTilePieces;
  std::byte* const to = ctx.workspace.bytes(name, static_cast<std::size_t>(pieces) * 16);
  launch(ctx, name, convert_cache<E>, {dim3(blocks_for(pieces, kConvertThreads)), dim3(kConvertThreads)}, cache, keys, pieces, reinterpret_cast<uint4*>(to));
  return {reinterpret_cast<const std::uint8_t*>(to), kTileRowBytes, keys * kTileRowBytes, kTypeOf<E>, cache.rotation};
}

template <class E>
void attend_tiles_of(Context& ctx, AttentionArgs a, const AttentionPlan& plan) {
  const std::int64_t kv_heads = a.heads / a.group, keys = a.past + a.rows / a.group;
  a.keys = tiles_of<E>(ctx, a.keys, "attention.keys", keys, kv_heads);
  a.values = tiles_of<E>(ctx, a.values, "attention.values", keys, kv_heads);
  const dim3 grid(static_cast<unsigned>(plan.tiles * kv_heads), static_cast<unsigned>(a.splits));
  if (plan.tile_rows == 128) launch(ctx, "attention", attend_tile<E, 8>, {grid, dim3(8 * kWarp), kLargeTileShared}, a);
  else launch(ctx, "attention", attend_tile<E, 4>, {grid, dim3(4 * kWarp), kSmallTileShared}, a);
}

}  // namespace

void attend_tiles(Context& ctx, const AttentionArgs& a, const AttentionPlan& plan) {
  if (a.keys.type == DType::kBF16 || a.values.type == DType::kBF16) attend_tiles_of<Bf16>(ctx, a, plan);
  else attend_tiles_of<Half>(ctx, a, plan);
}

}  // namespace crossover::cuda
