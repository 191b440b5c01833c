// Attention of many tokens: 128 (or 64) query rows a block, tokens and heads of a group packed, so that a tile of keys serves all of them.
//
// 4 * 256 flops per query row and key against the tensor cores; 2 * 512 bytes per key and tile of rows come from L2: 128 rows need 3 TB/s of an H100's
// L2 at 400 TFLOP/s, 64 rows twice that. Queries (64 KiB), a tile of 64 keys and one of values (32 KiB each), weights (16 KiB): 146 KiB, one block of
// 8 warps on sm_80 and sm_90; 64 rows, their weights in the keys' place, fit the 99 KiB of sm_86 and sm_89, and two such blocks sm_90. Values arrive
// during scores, the next keys during the exponentials and the product with the values.
//
// What bounds it is shared memory: m16n8k16 reads 256 bytes of keys or values for 4096 flops, and at 128 bytes a cycle that is the tensor cores' rate on
// sm_80 and four fifths of mma.sync's on sm_90, before queries are read. So each fragment must serve 32 rows, whose sums do not fit a warp's registers:
// two warps share 32 rows. Each scores one half of the tile's keys; weights meet in shared memory; each multiplies all weights
// with its half of the values' columns. 128 registers of sums a thread, 32 of scores. Per warp and tile 104 ldmatrix and 256 products (with 16 rows a
// warp, as FlashAttention-2 has it: 144), for the block 4000 cycles of shared memory: 490 TFLOP/s of an H100 at 1.75 GHz, whose mma.sync peaks near
// 620. The price is a barrier more a tile (two for 64 rows). Expected 330-370 (FlashAttention-2: 298); more takes wgmma, which reads keys and values once
// for 64 rows and runs beside the exponentials (attention_warpgroup.cu). On sm_80 60-65 % of 312.
//
// A tile needs masks only where it crosses the diagonal; blocks with most keys start first. Other types than halves are turned into halves once
// for all tiles of rows, in scratch memory (1 KiB a token and KV head): 0.6 % of the time at 8192 tokens.
#include "kernels/cuda/attention_halves.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/launch.h"

namespace crossover::cuda {
namespace {

constexpr int kPairRows = 32, kPairs = kTileKeys / 2 / 16, kSteps = 16;  // rows of two warps; kPairs: of scores' columns, 16 keys each; of 16 values along a head
constexpr int kConvertThreads = 256, kTileBytes = kTileKeys * kTileRowBytes, kWeightRowBytes = kTileKeys * 2;
static_assert(kPairRows * kWeightRowBytes * 4 <= kTileBytes);

// A thread for every eight values: [kv_heads, keys, 256]. pieces: of a KV head.
template <class E>
__global__ void __launch_bounds__(kConvertThreads) convert_cache(CacheView from, std::int64_t pieces, uint4* to) {
  wait_for_launches_before();
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kConvertThreads + threadIdx.x;
  if (i < pieces) to[blockIdx.y * pieces + i] = piece_of<E>(from.type, from.row(i / kTilePieces, static_cast<int>(blockIdx.y)), static_cast<int>(i % kTilePieces));
}

template <int kWarps>
__device__ __forceinline__ void copy_tile(const CacheView& cache, int kv_head, std::int64_t first, std::int64_t end, std::uint8_t* tile) {
  const int lane = lane_of_thread(), warp = static_cast<int>(threadIdx.x) / kWarp;
#pragma unroll
  for (int key = warp; key < kTileKeys; key += kWarps) copy_async_16(tile + tile_at(key, lane), cache.row(min(first + key, end - 1), kv_head) + lane * 16);
}

// Of rows 16m + g + 8r of the pair's 32, [m][r]; this warp's half of the columns.
struct TileState {
  float sums[2][kSteps][4];  // 8 values of the head each
  float top[2][2], sum[2][2];  // sum: over this lane's keys only
};
using Scores = float[2][2 * kPairs][4];  // [32 rows, half of the tile's keys]

// This thread's place: pair of warps, half of keys and columns.
struct Place {
  int pair, side, lane, g, t;
  __device__ __forceinline__ Place()
      : pair(static_cast<int>(threadIdx.x) / (2 * kWarp)), side(static_cast<int>(threadIdx.x) / kWarp % 2), lane(lane_of_thread()), g(lane / 4), t(lane % 4) {}
  __device__ __forceinline__ int row(int m, int r) const { return pair * kPairRows + 16 * m + 8 * r + g; }  // of the block
};

// Of the block's rows: the largest score (later the sum of weights) of either half of the keys; at last the largest of all.
template <int kRows>
struct TileStats { float half[2][kRows], top[kRows]; };

template <class E>
__device__ __forceinline__ void score_tile(const Place& at, const std::uint8_t* queries, const std::uint8_t* keys, Scores& scores) {
  const TileLane query(queries + at.pair * kPairRows * kTileRowBytes, at.lane % 16, at.lane / 16);
  const TileLane key(keys + at.side * kTileBytes / 2, at.lane / 16 * 8 + at.lane % 8, at.lane / 8 % 2);
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int i = 0; i < 2 * kPairs * 4; ++i) scores[m][i / 4][i % 4] = 0.0f;
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
    unsigned a[2][4], b[4];
#pragma unroll
    for (int m = 0; m < 2; ++m) load_matrices(a[m], query.step(step) + m * 16 * kTileRowBytes);
#pragma unroll
    for (int pair = 0; pair < kPairs; ++pair) {
      load_matrices(b, key.step(step) + pair * 16 * kTileRowBytes);
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        multiply<E>(scores[m][2 * pair], a[m], {b[0], b[1]});
        multiply<E>(scores[m][2 * pair + 1], a[m], {b[2], b[3]});
      }
    }
  }
}

// first_row: of the block; first: key of the tile.
__device__ __forceinline__ void mask_tile(const AttentionArgs& a, const Place& at, int first_row, std::int64_t first, std::int64_t end, Scores& scores) {
  const std::int64_t key = first + at.side * (kTileKeys / 2) + 2 * at.t;
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const std::int64_t seen = min(a.visible(first_row + at.row(m, r)), end);
#pragma unroll
      for (int i = 0; i < 2 * kPairs; ++i)
#pragma unroll
        for (int c = 0; c < 2; ++c)
          if (key + 8 * i + c >= seen) scores[m][i][2 * r + c] = -INFINITY;
    }
}

template <int kRows>
__device__ __forceinline__ void leave_maxima(const Place& at, const Scores& scores, TileStats<kRows>& stats) {
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float x = -INFINITY;
#pragma unroll
      for (int i = 0; i < 2 * kPairs; ++i) x = fmaxf(x, fmaxf(scores[m][i][2 * r], scores[m][i][2 * r + 1]));
      x = fmaxf(x, __shfl_xor_sync(kAllLanes, x, 1));
      x = fmaxf(x, __shfl_xor_sync(kAllLanes, x, 2));
      if (at.t == 0) stats.half[at.side][at.row(m, r)] = x;
    }
}

// Rows of 128 bytes, their eight pieces permuted by the row's number.
__device__ __forceinline__ std::uint8_t* weight_at(std::uint8_t* weights, int row, int piece) { return weights + row * kWeightRowBytes + (piece ^ (row & 7)) * 16; }

// Scores become weights and go to `weights`, [rows of the block, 64]. Sums are rescaled only when a maximum of the warp's rows has grown.
template <class E, int kRows>
__device__ __forceinline__ void weigh_tile(const Place& at, const TileStats<kRows>& stats, Scores& scores, std::uint8_t* weights, TileState& state) {
  float top[2][2];
  bool grown = false;
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int row = at.row(m, r);
      top[m][r] = fmaxf(state.top[m][r], fmaxf(stats.half[0][row], stats.half[1][row]));
      grown |= top[m][r] > state.top[m][r];
    }
  if (__any_sync(kAllLanes, grown)) {
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      const float factor[2] = {fast_exp2(state.top[m][0] - score_base(top[m][0])), fast_exp2(state.top[m][1] - score_base(top[m][1]))};
#pragma unroll
      for (int r = 0; r < 2; ++r) state.top[m][r] = top[m][r], state.sum[m][r] *= factor[r];
#pragma unroll
      for (int i = 0; i < kSteps; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) state.sums[m][i][j] *= factor[j / 2];
    }
  }
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const float base = score_base(state.top[m][r]);
#pragma unroll
      for (int i = 0; i < 2 * kPairs; ++i) {
        const float low = fast_exp2(scores[m][i][2 * r] - base), high = fast_exp2(scores[m][i][2 * r + 1] - base);
        state.sum[m][r] += low + high;
        *reinterpret_cast<unsigned*>(weight_at(weights, at.row(m, r), at.side * 2 * kPairs + i) + at.t * 4) = pack<E>(low, high);
      }
    }
}

using Weights = unsigned[2][kTileKeys / 16][4];

__device__ __forceinline__ void load_weights(const Place& at, std::uint8_t* weights, Weights& a) {
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int i = 0; i < kTileKeys / 16; ++i)
      load_matrices(a[m][i], weight_at(weights, at.pair * kPairRows + 16 * m + at.lane % 16, 2 * i + at.lane / 16));
}

template <class E>
__device__ __forceinline__ void add_tile(const Place& at, const std::uint8_t* values, const Weights& a, TileState& state) {
  const TileLane value(values + at.side * kTileRowBytes / 2, at.lane / 8 % 2 * 8 + at.lane % 8, at.lane / 16);
#pragma unroll
  for (int i = 0; i < kTileKeys / 16; ++i)
#pragma unroll
    for (int step = 0; step < kSteps / 2; ++step) {
      unsigned b[4];
      load_matrices_transposed(b, value.step(step) + i * 16 * kTileRowBytes);
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        multiply<E>(state.sums[m][2 * step], a[m][i], {b[0], b[1]});
        multiply<E>(state.sums[m][2 * step + 1], a[m][i], {b[2], b[3]});
      }
    }
}

// Through shared memory, so that rows leave whole: [rows of the block, 256] floats, groups of four permuted by the row as tile_at does.
template <int kRows>
__device__ void leave_rows(const AttentionArgs& a, const Place& at, TileState& state, float* rows, TileStats<kRows>& stats, int kv_head, int split, int first_row) {
  const auto four_at = [&](int row, int four) { return rows + row * kWarpValues + (four ^ (row & 7)) * 4; };
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int row = at.row(m, r);
#pragma unroll
      for (int i = 0; i < kSteps; ++i)
        *reinterpret_cast<float2*>(four_at(row, 32 * at.side + 2 * i + at.t / 2) + at.t % 2 * 2) = make_float2(state.sums[m][i][2 * r], state.sums[m][i][2 * r + 1]);
      float sum = state.sum[m][r];
      sum += __shfl_xor_sync(kAllLanes, sum, 1);
      sum += __shfl_xor_sync(kAllLanes, sum, 2);
      if (at.t == 0) stats.half[at.side][row] = sum, stats.top[row] = state.top[m][r];
    }
  __syncthreads();
#pragma unroll 1
  for (int i = 0; i < kPairRows / 2; ++i) {
    const int row = at.pair * kPairRows + at.side * (kPairRows / 2) + i;
    const float4 low = *reinterpret_cast<const float4*>(four_at(row, 2 * at.lane)), high = *reinterpret_cast<const float4*>(four_at(row, 2 * at.lane + 1));
    float x[kLaneValues] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
    leave_row(a, kv_head, split, first_row + row, x, stats.top[row], stats.half[0][row] + stats.half[1][row]);
  }
}

// Grid: (KV head, tile of query rows, the last first), splits. Caches are of type E, every head's row at 16 bytes.
template <class E, int kWarps>
__global__ void __launch_bounds__(kWarps * kWarp) attend_tile(AttentionArgs a) {
  wait_for_launches_before();
  constexpr int kRows = kWarps * kPairRows / 2;
  constexpr bool kOwnWeights = kRows == kOwnWeightRows;
  const Place at;
  const int kv_heads = a.heads / a.group, kv_head = static_cast<int>(blockIdx.x) % kv_heads, split = static_cast<int>(blockIdx.y);
  const int first_row = (static_cast<int>(gridDim.x) / kv_heads - 1 - static_cast<int>(blockIdx.x) / kv_heads) * kRows;
  std::uint8_t* const queries = dynamic_shared<std::uint8_t>();
  std::uint8_t* const keys = queries + kRows * kTileRowBytes;
  std::uint8_t* const values = keys + kTileBytes;
  std::uint8_t* const weights = kOwnWeights ? values + kTileBytes : keys;
  auto& stats = *reinterpret_cast<TileStats<kRows>*>(values + kTileBytes + (kOwnWeights ? kRows * kWeightRowBytes : 0));
  const std::int64_t begin = split * a.split_keys, end = min(begin + a.split_keys, a.visible(min(first_row + kRows, a.rows) - 1));
  if (begin < end) copy_tile<kWarps>(a.keys, kv_head, begin, end, keys);
  copy_async_commit();
#pragma unroll 1
  for (int row = static_cast<int>(threadIdx.x) / kWarp; row < kRows; row += kWarps) {
    float x[kLaneValues];
    read_query(a, kv_head, first_row + row, x);
    store_query<E>(queries, row, x);
  }
  TileState state{};
#pragma unroll
  for (int i = 0; i < 4; ++i) state.top[i / 2][i % 2] = -INFINITY;
  const auto copy_next_keys = [&](std::int64_t first) {
    if (first + kTileKeys < end) copy_tile<kWarps>(a.keys, kv_head, first + kTileKeys, end, keys);
    copy_async_commit();
  };
  const std::int64_t all_see = min(a.visible(first_row + at.pair * kPairRows), end);
  for (std::int64_t first = begin; first < end; first += kTileKeys) {
    copy_async_wait<0>();
    __syncthreads();  // keys have come; the values before have been used
    copy_tile<kWarps>(a.values, kv_head, first, end, values);
    copy_async_commit();
    Scores scores;
    score_tile<E>(at, queries, keys, scores);
    if (first + kTileKeys > all_see) mask_tile(a, at, first_row, first, end, scores);
    leave_maxima(at, scores, stats);
    __syncthreads();  // keys have been used; maxima are there
    if constexpr (kOwnWeights) copy_next_keys(first);
    weigh_tile<E>(at, stats, scores, weights, state);
    copy_async_wait<kOwnWeights ? 1 : 0>();
    __syncthreads();  // values have come; weights are there
    Weights held;
    load_weights(at, weights, held);
    if constexpr (!kOwnWeights) {
      __syncthreads();  // weights are in registers
      copy_next_keys(first);
    }
    add_tile<E>(at, values, held, state);
  }
  copy_async_wait<0>();
  __syncthreads();
  leave_rows(a, at, state, reinterpret_cast<float*>(queries), stats, kv_head, split, first_row);
}

// The cache itself where it has the tiles' type and alignment, else a copy in scratch memory.
template <class E>
CacheView tiles_of(Context& ctx, const CacheView& cache, const char* name, std::int64_t keys, std::int64_t kv_heads) {
  if (cache.type == kTypeOf<E> && aligned_16(cache.data) && cache.stride % 16 == 0) return cache;
  const std::int64_t pieces = keys * kTilePieces;
  std::byte* const to = ctx.workspace.bytes(name, static_cast<std::size_t>(pieces * kv_heads) * 16);
  launch(ctx, name, convert_cache<E>, {dim3(blocks_for(pieces, kConvertThreads), static_cast<unsigned>(kv_heads)), dim3(kConvertThreads)}, cache, pieces,
         reinterpret_cast<uint4*>(to));
  return {reinterpret_cast<const std::uint8_t*>(to), kTileRowBytes, keys * kTileRowBytes, kTypeOf<E>, cache.rotation};
}

template <class E>
void attend_tiles_of(Context& ctx, AttentionArgs a, const AttentionPlan& plan) {
  use_tiles(ctx, a, kTypeOf<E>);
  const dim3 grid(static_cast<unsigned>(plan.tiles * (a.heads / a.group)), static_cast<unsigned>(a.splits));
  if (plan.tile_rows == 128) launch(ctx, "attention", attend_tile<E, 8>, {grid, dim3(8 * kWarp), tile_shared(128)}, a);
  else launch(ctx, "attention", attend_tile<E, 4>, {grid, dim3(4 * kWarp), tile_shared(64)}, a);
}

}  // namespace

void use_tiles(Context& ctx, AttentionArgs& a, DType type) {
  const std::int64_t kv_heads = a.heads / a.group, keys = a.past + a.rows / a.group;
  const auto tiles = type == DType::kBF16 ? tiles_of<Bf16> : tiles_of<Half>;
  a.keys = tiles(ctx, a.keys, "attention.keys", keys, kv_heads);
  a.values = tiles(ctx, a.values, "attention.values", keys, kv_heads);
}

void attend_tiles(Context& ctx, const AttentionArgs& a, const AttentionPlan& plan) {
  if (product_type(a.keys.type, a.values.type) == DType::kBF16) attend_tiles_of<Bf16>(ctx, a, plan);
  else attend_tiles_of<Half>(ctx, a, plan);
}

}  // namespace crossover::cuda
