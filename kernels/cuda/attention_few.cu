// Attention of few tokens: the keys are split among blocks, and within a block among warps that never wait for each other.
//
// Bound by the cache, which is read once: 2 * 256 * bytes a key and KV head (q8_0: 544, f16: 1024). 16 keys are a warp's step. A warp copies raw rows
// of keys and values into its own part of shared memory (copy_async: no registers, no barrier but its own) while it works on those that have come:
// 16 KiB of f16 or 8.5 KiB of q8_0 under way per warp; 12 warps on an H100 are 100 to 190 KiB a multiprocessor, five times what covers 600 ns.
//
// Keys are the 16 rows of m16n8k16 and the group's query heads its 8 columns, so that eight heads waste nothing: S^T = K Q^T, then O^T = V^T P^T with
// V read transposed by ldmatrix. P^T leaves S^T's registers by one 8 x 8 transposition (movmatrix), without shared memory. A step is 32 products and
// 32 ldmatrix for 8 KiB of keys and as many of values as halves: 260 of the 1100 cycles that an H100's DRAM takes for f16. Quantized rows are
// turned into halves by the warp itself, two values an instruction, 600 issue slots of the 2300 that DRAM leaves for q8_0; of shared memory's cycles
// two thirds (q8_0) and all (q4_0): expected on an H100 85-90 % of bandwidth for f16 and q8_0, 65-75 % for q4_0, from 16k keys on.
// Registers: 64 of sums and 32 of queries for eight rows; 128 of sums for sixteen, whose queries are read again each step.
#include "kernels/cuda/attention_halves.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/launch.h"

namespace crossover::cuda {
namespace {

constexpr int kThreads = 128, kWarps = kThreads / kWarp, kStepKeys = 16, kSteps = 16;  // kSteps: of 16 values along a head
constexpr int kSumPitch = static_cast<int>(kAttentionHeadDim) + 4;                   // floats: eight lanes' rows in different banks
static_assert(kWarps * kStepKeys == kFewKeys);

// A warp's shared memory. Rows that are halves already are copied into their tile; others as they are, and turned into halves in `tile`.
struct FewLayout {
  int key_bytes, value_bytes, tile_bytes, warp_bytes, query_bytes;
};

template <class E>
bool copied(const CacheView& cache) { return cache.type == kTypeOf<E>; }

template <class E>
FewLayout few_layout(const AttentionArgs& a, int query_rows) {
  FewLayout l;
  l.key_bytes = kStepKeys * static_cast<int>(a.keys.head_bytes);
  l.value_bytes = kStepKeys * static_cast<int>(a.values.head_bytes);
  l.tile_bytes = copied<E>(a.keys) && copied<E>(a.values) ? 0 : kStepKeys * kTileRowBytes;
  const int sums = query_rows * kSumPitch * static_cast<int>(sizeof(float));
  l.warp_bytes = l.key_bytes + l.value_bytes + l.tile_bytes;
  l.warp_bytes = (l.warp_bytes > sums ? l.warp_bytes : sums);
  l.query_bytes = query_rows * kTileRowBytes;
  return l;
}

// Starts the copy of 16 rows; those past the end are the last one again: what is masked must still be finite.
__device__ __forceinline__ void copy_rows(const CacheView& cache, int kv_head, std::int64_t first, std::int64_t end, bool tile, std::uint8_t* to) {
  const int pieces = static_cast<int>(cache.head_bytes) / 16;
  for (int i = lane_of_thread(); i < kStepKeys * pieces; i += kWarp) {
    const int key = i / pieces, piece = i % pieces;
    copy_async_16(to + (tile ? tile_at(key, piece) : i * 16), cache.row(min(first + key, end - 1), kv_head) + piece * 16);
  }
}

template <class E>
__device__ __forceinline__ void convert_rows(const CacheView& cache, const std::uint8_t* raw, std::uint8_t* tile) {
  const int lane = lane_of_thread(), bytes = static_cast<int>(cache.head_bytes);
#pragma unroll 2
  for (int key = 0; key < kStepKeys; ++key) *reinterpret_cast<uint4*>(tile + tile_at(key, lane)) = piece_of<E>(cache.type, raw + key * bytes, lane);
}

// Fragments of two steps along the head of eight query rows: columns of the product.
__device__ __forceinline__ void load_queries(const std::uint8_t* queries, int rows_from, int step, unsigned (&b)[4]) {
  const int lane = lane_of_thread();
  load_matrices(b, queries + tile_at(rows_from + lane % 8, step * 2 + lane / 8));
}

template <class E, int N>
struct FewState {
  float sums[kSteps][N][4];           // O^T: 16 values of the head, eight query rows
  float top[N][2], sum[N][2];         // of this lane's query rows 8n + 2t, + 1; sum: over its own keys only
  std::int64_t visible[N][2];
};

// Chains of dependent products are as short as registers allow: one product follows another after some 18 cycles.
template <class E, int N>
__device__ __forceinline__ void score_keys(const std::uint8_t* keys, const std::uint8_t* queries, const unsigned (&held)[kSteps / 2][4], float (&scores)[N][4]) {
  constexpr int kChains = 4 / N;
  const TileLane lane(keys, lane_of_thread() % 16, lane_of_thread() / 16);
  float chains[kChains][N][4] = {};
#pragma unroll
  for (int step = 0; step < kSteps; step += 2) {
    unsigned a[2][4];
#pragma unroll
    for (int i = 0; i < 2; ++i) load_matrices(a[i], lane.step(step + i));
#pragma unroll
    for (int n = 0; n < N; ++n) {
      unsigned b[4];
      if constexpr (N == 1) {
#pragma unroll
        for (int i = 0; i < 4; ++i) b[i] = held[step / 2][i];
      } else {
        load_queries(queries, 8 * n, step, b);
      }
      multiply<E>(chains[step % kChains][n], a[0], {b[0], b[1]});
      multiply<E>(chains[(step + 1) % kChains][n], a[1], {b[2], b[3]});
    }
  }
#pragma unroll
  for (int n = 0; n < N; ++n)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      scores[n][i] = chains[0][n][i];
#pragma unroll
      for (int c = 1; c < kChains; ++c) scores[n][i] += chains[c][n][i];
    }
}

// Scores [16 keys, 8 rows] become weights; sums are rescaled only when a maximum has grown, which is rare after the first steps.
template <class E, int N>
__device__ __forceinline__ void weigh_keys(std::int64_t first, float (&scores)[N][4], FewState<E, N>& state) {
  const std::int64_t key = first + lane_of_thread() / 4;
  bool grown = false;
  float top[N][2];
#pragma unroll
  for (int n = 0; n < N; ++n)
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      if (key >= state.visible[n][c]) scores[n][c] = -INFINITY;
      if (key + 8 >= state.visible[n][c]) scores[n][c + 2] = -INFINITY;
      float x = fmaxf(scores[n][c], scores[n][c + 2]);
#pragma unroll
      for (int lanes = 4; lanes < kWarp; lanes *= 2) x = fmaxf(x, __shfl_xor_sync(kAllLanes, x, lanes));
      top[n][c] = fmaxf(state.top[n][c], x);
      grown |= x > state.top[n][c];
    }
  if (__any_sync(kAllLanes, grown)) {
#pragma unroll
    for (int n = 0; n < N; ++n) {
      const float factor[2] = {fast_exp2(state.top[n][0] - score_base(top[n][0])), fast_exp2(state.top[n][1] - score_base(top[n][1]))};
#pragma unroll
      for (int c = 0; c < 2; ++c) state.top[n][c] = top[n][c], state.sum[n][c] *= factor[c];
#pragma unroll
      for (int step = 0; step < kSteps; ++step)
#pragma unroll
        for (int i = 0; i < 4; ++i) state.sums[step][n][i] *= factor[i % 2];
    }
  }
#pragma unroll
  for (int n = 0; n < N; ++n)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      scores[n][i] = fast_exp2(scores[n][i] - score_base(state.top[n][i % 2]));
      state.sum[n][i % 2] += scores[n][i];
    }
}

template <class E, int N>
__device__ __forceinline__ void add_values(const std::uint8_t* values, const float (&weights)[N][4], FewState<E, N>& state) {
  const int l = lane_of_thread();
  const TileLane lane(values, l / 16 * 8 + l % 8, l / 8 % 2);
  unsigned b[N][2];
#pragma unroll
  for (int n = 0; n < N; ++n)
#pragma unroll
    for (int i = 0; i < 2; ++i) b[n][i] = transpose_matrix(pack<E>(weights[n][2 * i], weights[n][2 * i + 1]));
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
    unsigned a[4];
    load_matrices_transposed(a, lane.step(step));
#pragma unroll
    for (int n = 0; n < N; ++n) multiply<E>(state.sums[step][n], a, b[n]);
  }
}

// The warps' sums meet in shared memory, [rows, kSumPitch] in each warp's part, and are joined in the order of the warps.
template <class E, int N>
__device__ void join_warps(const AttentionArgs& a, std::uint8_t* memory, int warp_bytes, float (*stats)[8 * N][2], FewState<E, N>& state, int kv_head, int split, int first_row) {
  const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = lane_of_thread(), g = lane / 4, t = lane % 4;
  const auto sums_of = [&](int w) { return reinterpret_cast<float*>(memory + w * warp_bytes); };
#pragma unroll
  for (int n = 0; n < N; ++n)
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      float sum = state.sum[n][c];
#pragma unroll
      for (int lanes = 4; lanes < kWarp; lanes *= 2) sum += __shfl_xor_sync(kAllLanes, sum, lanes);
      const int row = 8 * n + 2 * t + c;
      if (g == 0) stats[warp][row][0] = state.top[n][c], stats[warp][row][1] = sum;
#pragma unroll
      for (int step = 0; step < kSteps; ++step) {
        sums_of(warp)[row * kSumPitch + step * 16 + g] = state.sums[step][n][c];
        sums_of(warp)[row * kSumPitch + step * 16 + g + 8] = state.sums[step][n][c + 2];
      }
    }
  __syncthreads();
  for (int row = warp; row < 8 * N; row += kWarps) {
    float top = stats[0][row][0], sum = 0.0f, x[kLaneValues] = {};
    for (int w = 1; w < kWarps; ++w) top = fmaxf(top, stats[w][row][0]);
    for (int w = 0; w < kWarps; ++w) {
      const float weight = fast_exp2(stats[w][row][0] - score_base(top));
      float more[kLaneValues];
      read_lane(sums_of(w) + row * kSumPitch, kWarpValues, more);
      sum += weight * stats[w][row][1];
#pragma unroll
      for (int j = 0; j < kLaneValues; ++j) x[j] += weight * more[j];
    }
    leave_row(a, kv_head, split, first_row + row, x, top, sum);
  }
}

// N: groups of eight query rows. Grid: tiles of query rows, splits, KV heads.
template <class E, int N>
__global__ void __launch_bounds__(kThreads, N == 1 ? 3 : 2) attend_few_rows(AttentionArgs a, FewLayout l) {
  __shared__ float stats[kWarps][8 * N][2];
  const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = lane_of_thread();
  const int kv_head = static_cast<int>(blockIdx.z), split = static_cast<int>(blockIdx.y), first_row = static_cast<int>(blockIdx.x) * 8 * N;
  std::uint8_t* const queries = dynamic_shared<std::uint8_t>();
  std::uint8_t* const memory = queries + l.query_bytes;
  std::uint8_t* const raw_keys = memory + warp * l.warp_bytes;
  std::uint8_t* const raw_values = raw_keys + l.key_bytes;
  std::uint8_t* const tile = raw_values + l.value_bytes;
  const bool key_tile = a.keys.type == kTypeOf<E>, value_tile = a.values.type == kTypeOf<E>;
  const std::int64_t begin = split * a.split_keys, end = min(begin + a.split_keys, a.keys_seen());
  std::int64_t first = begin + warp * kStepKeys;
  const auto copy_keys = [&](std::int64_t from) { if (from < end) copy_rows(a.keys, kv_head, from, end, key_tile, raw_keys); copy_async_commit(); };
  const auto copy_values = [&](std::int64_t from) { if (from < end) copy_rows(a.values, kv_head, from, end, value_tile, raw_values); copy_async_commit(); };
  copy_keys(first), copy_values(first);

  for (int row = warp; row < 8 * N; row += kWarps) {
    float x[kLaneValues];
    read_query(a, kv_head, first_row + row, x);
    store_query<E>(queries, row, x);
  }
  __syncthreads();
  FewState<E, N> state{};
#pragma unroll
  for (int n = 0; n < N; ++n)
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      state.top[n][c] = -INFINITY;
      state.visible[n][c] = min(a.visible(first_row + 8 * n + lane % 4 * 2 + c), end);
    }
  unsigned held[kSteps / 2][4] = {};
  if constexpr (N == 1)
#pragma unroll
    for (int i = 0; i < kSteps / 2; ++i) load_queries(queries, 0, 2 * i, held[i]);

  for (; first < end; first += kFewKeys) {
    copy_async_wait<1>();
    __syncwarp();
    if (!key_tile) {
      convert_rows<E>(a.keys, raw_keys, tile);
      __syncwarp();
      copy_keys(first + kFewKeys);
    }
    float scores[N][4];
    score_keys<E, N>(key_tile ? raw_keys : tile, queries, held, scores);
    __syncwarp();
    if (key_tile) copy_keys(first + kFewKeys);
    weigh_keys<E, N>(first, scores, state);
    copy_async_wait<1>();
    __syncwarp();
    if (!value_tile) {
      convert_rows<E>(a.values, raw_values, tile);
      __syncwarp();
      copy_values(first + kFewKeys);
    }
    add_values<E, N>(value_tile ? raw_values : tile, scores, state);
    __syncwarp();
    if (value_tile) copy_values(first + kFewKeys);
  }
  copy_async_wait<0>();
  __syncthreads();
  join_warps<E, N>(a, memory, l.warp_bytes, stats, state, kv_head, split, first_row);
}

template <class E, int N>
void attend_few_of(Context& ctx, const AttentionArgs& a, const AttentionPlan& plan) {
  const FewLayout l = few_layout<E>(a, 8 * N);
  launch(ctx, "attention", attend_few_rows<E, N>,
         {dim3(static_cast<unsigned>(plan.tiles), static_cast<unsigned>(a.splits), static_cast<unsigned>(a.heads / a.group)), dim3(kThreads),
          static_cast<std::size_t>(l.query_bytes + kWarps * l.warp_bytes)}, a, l);
}

}  // namespace

void attend_few(Context& ctx, const AttentionArgs& a, const AttentionPlan& plan) {
  const bool bf16 = a.keys.type == DType::kBF16 || a.values.type == DType::kBF16, narrow = plan.tile_rows == 8;
  if (bf16) narrow ? attend_few_of<Bf16, 1>(ctx, a, plan) : attend_few_of<Bf16, 2>(ctx, a, plan);
  else narrow ? attend_few_of<Half, 1>(ctx, a, plan) : attend_few_of<Half, 2>(ctx, a, plan);
}

}  // namespace crossover::cuda
