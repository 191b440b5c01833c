// Attention of many tokens on Hopper: 128 query rows a block, tokens and heads of a group packed as attention_tiles.cu packs them, multiplied by
// warpgroups (wgmma). Two warpgroups have 64 rows each; a third copies tiles of 80 keys and values, two of each ahead, by cp.async into panels with the
// swizzle of 128 bytes that the products read. Only mbarriers tie the three together: full (a count of copies) and free (a count of warps).
//
// Tensor cores: 2560 cycles for a tile and 128 rows (4 * 128 * 80 * 256 flops at 4096 a cycle). Shared memory, at 128 bytes a cycle: scores read 2 KiB of
// queries and 2.5 KiB of keys for 40 cycles of products (36), weights come from registers and values are read once for 64 rows (64 cycles of 128), copies
// write 80 KiB (640): 2430 cycles a tile, just below the products; with tiles of 64 keys scores alone would be bound by it. Exponentials: 10240 at 16 a
// cycle, 640, and some 450 instructions a warp and tile for maxima, weights and sums: 900 of a scheduler's cycles. L2: 80 KiB for 10.5 MFLOP, 3.9 TB/s at
// 500 TFLOP/s. So what matters is that the tensor cores never wait for exponentials: a warpgroup asks for the scores of tile j and for the product with
// the values of tile j - 1 together, and turns those scores into weights while the second product runs; the other warpgroup is somewhere else in its
// tile. FlashAttention-3 reaches 64 % of 989 TFLOP/s so (628 at 8192 tokens, TMA in place of cp.async); expected here 450-560, 45-57 %. Not
// measured yet: the kernel has run on the emulation alone, so it is used where it is asked for by name (CROSSOVER_CUDA_PRODUCTS=warpgroup).
//
// Registers of a thread that multiplies: 128 of sums, 40 of scores, 20 of weights under way, 232 in all, which the copying warpgroup leaves to
// it (40 are enough for addresses): 2 * 128 * 232 + 128 * 40 = 63 Ki of 64 Ki. Shared memory: queries 64 KiB, two stages of keys and of values 160
// KiB: 224 KiB and what aligns them, of 227. One block a multiprocessor.
#include "kernels/cuda/attention_halves.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/warpgroup.h"

namespace crossover::cuda {
namespace {

constexpr int kMultipliers = 2, kThreads = (kMultipliers + 1) * kWarpgroup;

#ifdef CROSSOVER_WARPGROUPS

constexpr int kGroupRows = 64, kGroupWarps = kWarpgroup / kWarp, kStages = 2;
constexpr int kKeys = kGroupTileKeys, kPanels = kTileRowBytes / kPanelRowBytes, kSteps = kPanelRowBytes / 32;  // kSteps: of 16 values along a panel
constexpr int kQueryPanelBytes = kGroupRows * kPanelRowBytes, kQueryBytes = kPanels * kQueryPanelBytes;      // of a warpgroup
constexpr int kPanelBytes = kKeys * kPanelRowBytes, kStageBytes = kPanels * kPanelBytes, kWeightSteps = kKeys / 16;
constexpr int kMultiplyRegisters = 232, kCopyRegisters = 40;
static_assert(kGroupTileRows == kMultipliers * kGroupRows && kQueryPanelBytes % kAtomBytes == 0 && kPanelBytes % kAtomBytes == 0);
static_assert(kGroupShared >= kAtomBytes + kMultipliers * kQueryBytes + 2 * kStages * kStageBytes + (4 * kStages + kMultipliers) * sizeof(std::uint64_t));

struct Tiles {  // of one operand
  std::uint8_t* stages;
  std::uint64_t *full, *free;  // [kStages]
  __device__ __forceinline__ std::uint8_t* stage(int tile) const { return stages + tile % kStages * kStageBytes; }
  __device__ __forceinline__ void wait_full(int tile) const {
    barrier_wait(full + tile % kStages, tile / kStages & 1);
    fence_proxy();  // what was copied, for what multiplies
  }
  __device__ __forceinline__ void wait_free(int tile) const { barrier_wait(free + tile % kStages, (tile / kStages & 1) ^ 1); }
  __device__ __forceinline__ void leave(int tile) const {
    __syncwarp();
    if (lane_of_thread() == 0) barrier_arrive(free + tile % kStages);
  }
};

struct Shared {
  std::uint8_t* queries;
  Tiles keys, values;
  std::uint64_t* met;  // [kMultipliers]: the threads of a warpgroup
  __device__ __forceinline__ Shared() {
    std::uint8_t* const memory = dynamic_shared<std::uint8_t>();
    queries = memory + (kAtomBytes - shared_address(memory) % kAtomBytes) % kAtomBytes;
    keys.stages = queries + kMultipliers * kQueryBytes, values.stages = keys.stages + kStages * kStageBytes;
    keys.full = reinterpret_cast<std::uint64_t*>(values.stages + kStages * kStageBytes);
    keys.free = keys.full + kStages, values.full = keys.free + kStages, values.free = values.full + kStages, met = values.free + kStages;
  }
  __device__ __forceinline__ void init() const {
    for (int i = 0; i < kStages; ++i) {
      barrier_init(keys.full + i, kWarpgroup), barrier_init(values.full + i, kWarpgroup);
      barrier_init(keys.free + i, kMultipliers * kGroupWarps), barrier_init(values.free + i, kMultipliers * kGroupWarps);
    }
    for (int i = 0; i < kMultipliers; ++i) barrier_init(met + i, kWarpgroup);
  }
  __device__ __forceinline__ void meet(int group, int time) const { barrier_arrive(met + group), barrier_wait(met + group, time); }
};

// A lane for each 16 bytes of a head's row. Places past the end get a key before it again: finite values, whose weights will be 0.
__device__ __forceinline__ void copy_tile(const CacheView& cache, int kv_head, std::int64_t first, std::int64_t end, const Tiles& tiles, int tile) {
  const int lane = lane_of_thread(), warp = static_cast<int>(threadIdx.x) / kWarp % kGroupWarps;
  const std::int64_t key = min(first + warp, end - 1);
  const int more = static_cast<int>(min(end - 1 - key, static_cast<std::int64_t>(kKeys))) / kGroupWarps;
  const std::uint8_t* from = cache.row(key, kv_head) + lane * 16;
  std::uint8_t* const to = tiles.stage(tile) + lane / 8 * kPanelBytes;
  tiles.wait_free(tile);
#pragma unroll 4
  for (int i = 0; i < kKeys / kGroupWarps; ++i) {
    copy_async_16(to + panel_at(warp + i * kGroupWarps, lane % 8), from);
    if (i < more) from += kGroupWarps * cache.stride;
  }
  barrier_arrive_after_copies(tiles.full + tile % kStages);
}

// In the order in which they are used: keys are wanted a tile ahead of values.
__device__ __forceinline__ void copy_tiles(const AttentionArgs& a, const Shared& shared, int kv_head, std::int64_t begin, std::int64_t end, int tiles) {
#pragma unroll 1
  for (int i = 0; i <= tiles; ++i) {
    if (i < tiles) copy_tile(a.keys, kv_head, begin + i * kKeys, end, shared.keys, i);
    if (i > 0) copy_tile(a.values, kv_head, begin + (i - 1) * kKeys, end, shared.values, i - 1);
  }
  copy_async_commit();
  copy_async_wait<0>();
}

// A thread's place in its warpgroup; it has rows g and g + 8 of its warp's 16.
struct Place {
  int group, warp, lane, g, t;
  __device__ __forceinline__ explicit Place(int group_)
      : group(group_), warp(static_cast<int>(threadIdx.x) / kWarp % kGroupWarps), lane(computed_here(lane_of_thread())), g(lane / 4), t(lane % 4) {}
  __device__ __forceinline__ int row(int r) const { return group * kGroupRows + warp * 16 + 8 * r + g; }  // of the block
};

using Scores = float[kKeys / 2];                // of rows g and g + 8 in turn by two, as multiply_shared has them
using Sums = float[kTileRowBytes / 4];
using Weights = unsigned[kWeightSteps][4];      // 16 keys each
struct RowState {
  float top[2] = {-INFINITY, -INFINITY}, sum[2] = {0, 0};  // sum: over this lane's keys only
};

template <class E>
__device__ __forceinline__ void store_queries(const AttentionArgs& a, const Place& at, int kv_head, int first_row, std::uint8_t* queries) {
#pragma unroll 1
  for (int i = 0; i < kGroupRows / kGroupWarps; ++i) {
    const int row = at.warp * (kGroupRows / kGroupWarps) + i;
    float x[kLaneValues];
    read_query(a, kv_head, first_row + at.group * kGroupRows + row, x);
    if constexpr (std::is_same_v<E, Half>) limit_to_half(x);
    *reinterpret_cast<uint4*>(queries + at.lane / 8 * kQueryPanelBytes + panel_at(row, at.lane % 8)) = pack_eight<E>(x);
  }
}

template <class E>
__device__ __forceinline__ void begin_scores(std::uint64_t queries, std::uint64_t keys, Scores& scores) {
  multiply_shared<E, false>(scores, queries, keys);
#pragma unroll
  for (int i = 1; i < kPanels * kSteps; ++i)
    multiply_shared<E, true>(scores, queries + descriptor_step(i / kSteps * kQueryPanelBytes + i % kSteps * 32),
                             keys + descriptor_step(i / kSteps * kPanelBytes + i % kSteps * 32));
}

template <class E>
__device__ __forceinline__ void begin_sums(const Weights& weights, std::uint64_t values, Sums& sums) {
#pragma unroll
  for (int i = 0; i < kWeightSteps; ++i) multiply_registers<E>(sums, weights[i], values + descriptor_step(i * 2 * kAtomBytes));
}

// seen: keys of the tile that each row sees.
__device__ __forceinline__ void mask_scores(const Place& at, const int (&seen)[2], Scores& scores) {
#pragma unroll
  for (int i = 0; i < kKeys / 2; ++i)
    if (i / 4 * 8 + 2 * at.t + i % 2 >= seen[i / 2 % 2]) scores[i] = -INFINITY;
}

// Scores become weights. factor: what sums so far are to be multiplied by; false: by 1, in all rows of the warp.
__device__ __forceinline__ bool weigh(Scores& scores, RowState& state, float (&factor)[2]) {
  bool grown = false;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float top = state.top[r];
#pragma unroll
    for (int i = 0; i < kKeys / 8; ++i) top = fmaxf(top, fmaxf(scores[4 * i + 2 * r], scores[4 * i + 2 * r + 1]));
    top = fmaxf(top, __shfl_xor_sync(kAllLanes, top, 1));
    top = fmaxf(top, __shfl_xor_sync(kAllLanes, top, 2));
    grown |= top > state.top[r];
    const float base = score_base(top);
    factor[r] = fast_exp2(state.top[r] - base);
    float sum = 0;
#pragma unroll
    for (int i = 0; i < kKeys / 8; ++i) {
      float &low = scores[4 * i + 2 * r], &high = scores[4 * i + 2 * r + 1];
      low = fast_exp2(low - base), high = fast_exp2(high - base);
      sum += low + high;
    }
    state.top[r] = top, state.sum[r] = state.sum[r] * factor[r] + sum;
  }
  return __any_sync(kAllLanes, grown);
}

template <class E>
__device__ __forceinline__ void pack_weights(const Scores& scores, Weights& weights) {
#pragma unroll
  for (int i = 0; i < kWeightSteps; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j) weights[i][j] = pack<E>(scores[8 * i + 2 * j], scores[8 * i + 2 * j + 1]);
}

// Through the warp's own part of the queries' memory, eight rows at a time, so that rows leave whole; groups of four permuted by the row.
__device__ __forceinline__ void leave_rows(const AttentionArgs& a, const Place& at, const Sums& sums, const RowState& state, std::uint8_t* queries, int kv_head,
                                           int split, int first_row) {
  float* const rows = reinterpret_cast<float*>(queries + at.warp * (kQueryBytes / kGroupWarps));
  const auto four_at = [&](int row, int four) { return rows + row * kWarpValues + (four ^ row) * 4; };
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    __syncwarp();
#pragma unroll
    for (int i = 0; i < kWarpValues / 8; ++i)
      *reinterpret_cast<float2*>(four_at(at.g, 2 * i + at.t / 2) + at.t % 2 * 2) = make_float2(sums[4 * i + 2 * r], sums[4 * i + 2 * r + 1]);
    float sum = state.sum[r];
    sum += __shfl_xor_sync(kAllLanes, sum, 1);
    sum += __shfl_xor_sync(kAllLanes, sum, 2);
    __syncwarp();
#pragma unroll 1
    for (int row = 0; row < 8; ++row) {
      const float4 low = *reinterpret_cast<const float4*>(four_at(row, 2 * at.lane)), high = *reinterpret_cast<const float4*>(four_at(row, 2 * at.lane + 1));
      float x[kLaneValues] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
      const float row_top = __shfl_sync(kAllLanes, state.top[r], 4 * row), row_sum = __shfl_sync(kAllLanes, sum, 4 * row);
      leave_row(a, kv_head, split, first_row + at.row(r) - at.g + row, x, row_top, row_sum);
    }
  }
}

// Of a block's keys those that all rows of a warpgroup see, and those that this thread's two rows do.
struct Seen { int all, rows[2]; };

// One tile at least. The loop turns between the weights of a tile and the wait for the product with the values before it, because there alone the
// compiler does not move the wait ahead of the exponentials.
template <class E>
__device__ __forceinline__ void attend_keys(const Shared& shared, const Place& at, const Seen& seen, std::uint64_t query, int tiles, Sums& sums, RowState& state) {
  Scores scores;
  Weights weights;
  float factor[2];
  const auto begin_tile = [&](int tile) {
    shared.keys.wait_full(tile);
    fence_registers();
    begin_scores<E>(query, matrix_descriptor(shared_address(shared.keys.stage(tile))), scores);
    commit_products();
  };
  const auto end_tile = [&](int tile) {
    settle(scores);
    shared.keys.leave(tile);
    if ((tile + 1) * kKeys > seen.all) mask_scores(at, {seen.rows[0] - tile * kKeys, seen.rows[1] - tile * kKeys}, scores);
    return weigh(scores, state, factor);
  };
  // Sums are those of the tiles before `tile`, measured against its maxima; its weights are ready.
  const auto catch_up = [&](int tile, bool grown) {
    wait_products<0>();
    settle(sums);
    if (tile > 0) shared.values.leave(tile - 1);
    if (grown)
#pragma unroll
      for (int i = 0; i < kTileRowBytes / 4; ++i) sums[i] *= factor[i / 2 % 2];
    pack_weights<E>(scores, weights);
  };
  const auto begin_product = [&](int tile) {
    shared.values.wait_full(tile);
    fence_registers();
    begin_sums<E>(weights, matrix_descriptor(shared_address(shared.values.stage(tile)), kPanelBytes), sums);
    commit_products();
  };
  begin_tile(0);
  wait_products<0>();
  bool grown = end_tile(0);
#pragma unroll 1
  for (int tile = 1; tile < tiles; ++tile) {
    catch_up(tile - 1, grown);
    begin_tile(tile);
    begin_product(tile - 1);
    wait_products<1>();
    grown = end_tile(tile);
  }
  catch_up(tiles - 1, grown);
  begin_product(tiles - 1);
  wait_products<0>();
  settle(sums);
}

// A warpgroup's 64 rows. begin .. end: the block's keys, in so many tiles.
template <class E>
__device__ __forceinline__ void attend_group(const AttentionArgs& a, const Shared& shared, int group, int kv_head, int split, int first_row, std::int64_t begin,
                                             std::int64_t end, int tiles) {
  const Place at(group);
  std::uint8_t* const queries = shared.queries + group * kQueryBytes;
  store_queries<E>(a, at, kv_head, first_row, queries);
  fence_proxy();
  shared.meet(group, 0);
  Sums sums;
#pragma unroll
  for (int i = 0; i < kTileRowBytes / 4; ++i) sums[i] = 0;
  RowState state;
  const auto keys_of = [&](int row) { return static_cast<int>(min(a.visible(first_row + row), end) - begin); };
  const Seen seen{keys_of(group * kGroupRows), {keys_of(at.row(0)), keys_of(at.row(1))}};
  if (tiles > 0) attend_keys<E>(shared, at, seen, matrix_descriptor(shared_address(queries)), tiles, sums, state);
  shared.meet(group, 1);  // all have used the queries
  leave_rows(a, at, sums, state, queries, kv_head, split, first_row);
}

#endif

// Grid: (KV head, tile of query rows, the last first), splits. Caches are of type E, every head's row at 16 bytes.
template <class E>
__global__ void __launch_bounds__(kThreads, 1) attend_by_groups(AttentionArgs a) {
  wait_for_launches_before();
#ifdef CROSSOVER_WARPGROUPS
  const int kv_heads = a.heads / a.group, kv_head = static_cast<int>(blockIdx.x) % kv_heads, split = static_cast<int>(blockIdx.y);
  const int first_row = (static_cast<int>(gridDim.x) / kv_heads - 1 - static_cast<int>(blockIdx.x) / kv_heads) * kGroupTileRows;
  const std::int64_t begin = split * a.split_keys, end = min(begin + a.split_keys, a.visible(min(first_row + kGroupTileRows, a.rows) - 1));
  const int tiles = begin < end ? static_cast<int>((end - begin + kKeys - 1) / kKeys) : 0;
  const int group = __shfl_sync(kAllLanes, static_cast<int>(threadIdx.x) / kWarpgroup, 0);
  const Shared shared;
  if (threadIdx.x == 0) shared.init();
  __syncthreads();
  if (group == kMultipliers) {
    give_registers<kCopyRegisters>();
    copy_tiles(a, shared, kv_head, begin, end, tiles);
  } else {
    take_registers<kMultiplyRegisters>();
    attend_group<E>(a, shared, group, kv_head, split, first_row, begin, end, tiles);
  }
#else
  __trap();  // launched on a device that its code was not compiled for
#endif
}

template <class E>
void attend_warpgroups_of(Context& ctx, AttentionArgs a, const AttentionPlan& plan) {
  use_tiles(ctx, a, kTypeOf<E>);
  const dim3 grid(static_cast<unsigned>(plan.tiles * (a.heads / a.group)), static_cast<unsigned>(a.splits));
  launch(ctx, "attention", attend_by_groups<E>, {grid, dim3(kThreads), kGroupShared}, a);
}

}  // namespace

void attend_warpgroups(Context& ctx, const AttentionArgs& a, const AttentionPlan& plan) {
  if (product_type(a.keys.type, a.values.type) == DType::kBF16) attend_warpgroups_of<Bf16>(ctx, a, plan);
  else attend_warpgroups_of<Half>(ctx, a, plan);
}

}  // namespace crossover::cuda
