// Attention of few tokens: the keys are split among blocks, and within a block among warps that never wait for each other.
//
// Bound by the cache, which is read once: 2 * 256 values a key and KV head (q8_0: 544 bytes, f16: 1024). 16 keys are a warp's step. A warp copies raw
// rows of keys and values into its own part of shared memory (copy_async: no registers, no barrier but its own) while it works on those that have
// come: 16 KiB of f16 or 8.5 KiB of q8_0 under way per warp. Two blocks of four warps on each multiprocessor of an H100 are 70 to 130 KiB, four times
// what covers 700 ns at its 25 GB/s each; where registers and shared memory allow three (eight rows), so does the launch bound.
//
// Keys are the 16 rows of m16n8k16 and the group's query heads its 8 columns, so that eight heads waste nothing: S^T = K Q^T, then O^T = V^T P^T. P^T
// leaves S^T's registers by one 8 x 8 transposition (movmatrix), without shared memory. A step is 32 products, for f16 and bf16 with 32 ldmatrix: 260
// of the 1100 cycles that an H100's DRAM takes for a step's 16 KiB. Quantized rows become fragments of halves where a lane reads them
// (attention_codes.h): for q8_0 some 650 issue slots of the 2400 that DRAM leaves and 200 of 600 cycles of shared memory, for q4_0 600 of 1270 and 130
// of 320. Expected on an H100 from 16k keys on: 85-90 % of bandwidth for f16 and q8_0, 75-80 % for q4_0.
// Next to a bf16 cache other types go through a tile of bf16, at half that speed.
// Registers: 64 of sums for eight rows, 128 for sixteen; queries are read from shared memory again each step.
#include "kernels/cuda/attention_codes.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/launch.h"

namespace crossover::cuda {
namespace {

constexpr int kThreads = 128, kWarps = kThreads / kWarp, kStepKeys = 16, kSteps = 16;  // kSteps: of 16 values along a head
constexpr int kSumPitch = static_cast<int>(kAttentionHeadDim) + 4;                   // floats: eight lanes' rows in different banks
static_assert(kWarps * kStepKeys == kFewKeys);

// A warp's shared memory. Rows of the products' type are copied into their tile, others as they are; next to bf16 they need another tile.
struct FewLayout {
  int key_bytes, value_bytes, warp_bytes, query_bytes;
  CodeFormat keys, values;
};

template <class E>
bool copied(const CacheView& cache) { return cache.type == kTypeOf<E>; }

template <class E>
FewLayout few_layout(const AttentionArgs& a, int query_rows) {
  FewLayout l;
  l.key_bytes = kStepKeys * static_cast<int>(a.keys.head_bytes);
  l.value_bytes = kStepKeys * static_cast<int>(a.values.head_bytes);
  const bool tile = std::is_same_v<E, Bf16> && !(copied<E>(a.keys) && copied<E>(a.values));
  l.warp_bytes = std::max(l.key_bytes + l.value_bytes + (tile ? kStepKeys * kTileRowBytes : 0), query_rows * kSumPitch * static_cast<int>(sizeof(float)));
  l.query_bytes = query_rows * kTileRowBytes;
  l.keys = code_format(a.keys.type), l.values = code_format(a.values.type);
  return l;
}

// Starts the copy of 16 rows; those past the end are the last one again: what is masked must still be finite. One division for all of a lane's pieces.
__device__ __forceinline__ void copy_rows(const CacheView& cache, int kv_head, std::int64_t first, std::int64_t end, bool tile, std::uint8_t* to) {
  const std::uint8_t* const from = cache.row(first, kv_head);
  const int pieces = static_cast<int>(cache.head_bytes) / 16, keys_more = kWarp / pieces, pieces_more = kWarp % pieces;
  const int last = static_cast<int>(min(end - first, static_cast<std::int64_t>(kStepKeys))) - 1;
  int key = lane_of_thread() / pieces, piece = lane_of_thread() % pieces;
  for (int i = lane_of_thread(); i < kStepKeys * pieces; i += kWarp) {
    copy_async_16(to + (tile ? tile_at(key, piece) : i * 16), from + min(key, last) * cache.stride + piece * 16);
    key += keys_more, piece += pieces_more;
    if (piece >= pieces) piece -= pieces, ++key;
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
  const int lane = computed_here(lane_of_thread());
  load_matrices(b, queries + tile_at(rows_from + lane % 8, step * 2 + lane / 8));
}

template <class E, int N>
struct FewState {
  float sums[kSteps][N][4];           // O^T: 16 values of the head, eight query rows
  float top[N][2], sum[N][2];         // of this lane's query rows 8n + 2t, + 1; sum: over its own keys only
  std::int64_t visible[N][2];
};

// Chains of dependent products are as short as registers allow: one product follows another after some 18 cycles.
template <int N>
struct Chains {
  static constexpr int kCount = 4 / N;
  float sums[kCount][N][4] = {};
  __device__ __forceinline__ void join(float (&scores)[N][4]) const {
#pragma unroll
    for (int n = 0; n < N; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        scores[n][i] = sums[0][n][i];
#pragma unroll
        for (int c = 1; c < kCount; ++c) scores[n][i] += sums[c][n][i];
      }
  }
};

template <class E, int N>
__device__ __forceinline__ void score_tile(const std::uint8_t* keys, const std::uint8_t* queries, float (&scores)[N][4]) {
  const int l = computed_here(lane_of_thread());
  const TileLane lane(keys, l % 16, l / 16);
  Chains<N> chains;
#pragma unroll
  for (int step = 0; step < kSteps; step += 2) {
    unsigned a[2][4];
#pragma unroll
    for (int i = 0; i < 2; ++i) load_matrices(a[i], lane.step(step + i));
#pragma unroll
    for (int n = 0; n < N; ++n) {
      unsigned b[4];
      load_queries(queries, 8 * n, step, b);
      multiply<E>(chains.sums[step % chains.kCount][n], a[0], {b[0], b[1]});
      multiply<E>(chains.sums[(step + 1) % chains.kCount][n], a[1], {b[2], b[3]});
    }
  }
  chains.join(scores);
}

// Not unrolled, and queries from shared memory: loads of later blocks, moved ahead, would not fit the registers.
template <int N>
__device__ __forceinline__ void score_codes(const CodeFormat& format, const std::uint8_t* keys, int row_bytes, const std::uint8_t* queries, float (&scores)[N][4]) {
  Chains<N> chains;
  with_codes(format, [&](auto codes) {
#pragma unroll 1
    for (int step = 0; step < kSteps; step += 2) {
      unsigned a[2][4];
      key_fragments<decltype(codes)::value>(format, keys, row_bytes, step / 2, a);
#pragma unroll
      for (int n = 0; n < N; ++n) {
        unsigned b[4];
        load_queries(queries, 8 * n, step, b);
        multiply<Half>(chains.sums[0][n], a[0], {b[0], b[1]});
        multiply<Half>(chains.sums[1][n], a[1], {b[2], b[3]});
      }
    }
  });
  chains.join(scores);
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
__device__ __forceinline__ void weight_fragments(const float (&weights)[N][4], unsigned (&b)[N][2]) {
#pragma unroll
  for (int n = 0; n < N; ++n)
#pragma unroll
    for (int i = 0; i < 2; ++i) b[n][i] = transpose_matrix(pack<E>(weights[n][2 * i], weights[n][2 * i + 1]));
}

template <class E, int N>
__device__ __forceinline__ void add_tile(const std::uint8_t* values, const float (&weights)[N][4], FewState<E, N>& state) {
  const int l = computed_here(lane_of_thread());
  const TileLane lane(values, l / 16 * 8 + l % 8, l / 8 % 2);
  unsigned b[N][2];
  weight_fragments<E, N>(weights, b);
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
    unsigned a[4];
    load_matrices_transposed(a, lane.step(step));
#pragma unroll
    for (int n = 0; n < N; ++n) multiply<E>(state.sums[step][n], a, b[n]);
  }
}

template <int N>
__device__ __forceinline__ void add_codes(const CodeFormat& format, const std::uint8_t* values, int row_bytes, const float (&weights)[N][4], FewState<Half, N>& state) {
  unsigned b[N][2];
  weight_fragments<Half, N>(weights, b);
  with_codes(format, [&](auto codes) {
    for_value_fragments<decltype(codes)::value>(format, values, row_bytes, [&](int step, const unsigned (&a)[4]) {
#pragma unroll
      for (int n = 0; n < N; ++n) multiply<Half>(state.sums[step][n], a, b[n]);
    });
  });
}

// Eight lanes write the same value of eight blocks of 32: block b is turned by b places, or they would all write to one bank.
__device__ __forceinline__ int turned(int column) { return (column & ~31) | ((column + column / 32) & 31); }

// The warps' sums meet in shared memory, [rows, kSumPitch] in each warp's part, and are joined in the order of the warps. blocks: of values, whose
// fragments hold a head's values in another order.
template <class E, int N>
__device__ void join_warps(const AttentionArgs& a, std::uint8_t* memory, int warp_bytes, float (*stats)[8 * N][2], FewState<E, N>& state, bool blocks, int kv_head, int split, int first_row) {
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
        float* const sums = sums_of(warp) + row * kSumPitch;
        sums[blocks ? turned(32 * g + 2 * step) : 16 * step + g] = state.sums[step][n][c];
        sums[blocks ? turned(32 * g + 2 * step + 1) : 16 * step + g + 8] = state.sums[step][n][c + 2];
      }
    }
  __syncthreads();
  for (int row = warp; row < 8 * N; row += kWarps) {
    float top = stats[0][row][0], sum = 0.0f, x[kLaneValues] = {};
    for (int w = 1; w < kWarps; ++w) top = fmaxf(top, stats[w][row][0]);
    for (int w = 0; w < kWarps; ++w) {
      const float weight = fast_exp2(stats[w][row][0] - score_base(top));
      const float* const sums = sums_of(w) + row * kSumPitch;
      float more[kLaneValues];
      if (blocks) {
#pragma unroll
        for (int j = 0; j < kLaneValues; ++j) more[j] = sums[turned(lane * kLaneValues + j)];
      } else {
        read_lane(sums, kWarpValues, more);
      }
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
  wait_for_launches_before();
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
    if (std::is_same_v<E, Bf16> || key_tile) store_query<E>(queries, row, x);
    else store_query_by_quads(queries, row, x);
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

  for (; first < end; first += kFewKeys) {
    float scores[N][4];
    copy_async_wait<1>();
    __syncwarp();
    if (key_tile) {
      score_tile<E, N>(raw_keys, queries, scores);
    } else if constexpr (std::is_same_v<E, Half>) {
      score_codes<N>(l.keys, raw_keys, static_cast<int>(a.keys.head_bytes), queries, scores);
    } else {
      convert_rows<E>(a.keys, raw_keys, tile);
      __syncwarp();
      score_tile<E, N>(tile, queries, scores);
    }
    __syncwarp();
    copy_keys(first + kFewKeys);
    weigh_keys<E, N>(first, scores, state);
    copy_async_wait<1>();
    __syncwarp();
    if (value_tile) {
      add_tile<E, N>(raw_values, scores, state);
    } else if constexpr (std::is_same_v<E, Half>) {
      add_codes<N>(l.values, raw_values, static_cast<int>(a.values.head_bytes), scores, state);
    } else {
      convert_rows<E>(a.values, raw_values, tile);
      __syncwarp();
      add_tile<E, N>(tile, scores, state);
    }
    __syncwarp();
    copy_values(first + kFewKeys);
  }
  copy_async_wait<0>();
  __syncthreads();
  join_warps<E, N>(a, memory, l.warp_bytes, stats, state, std::is_same_v<E, Half> && !value_tile, kv_head, split, first_row);
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
  const bool bf16 = product_type(a.keys.type, a.values.type) == DType::kBF16, narrow = plan.tile_rows == 8;
  if (bf16) narrow ? attend_few_of<Bf16, 1>(ctx, a, plan) : attend_few_of<Bf16, 2>(ctx, a, plan);
  else narrow ? attend_few_of<Half, 1>(ctx, a, plan) : attend_few_of<Half, 2>(ctx, a, plan);
}

}  // namespace crossover::cuda
