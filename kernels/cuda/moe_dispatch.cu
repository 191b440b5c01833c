// A stable counting sort of (token, choice) pairs by expert, and the tile map. A block ranks up to 4096 pairs: each warp takes 128 of them in
// order, 32 at a time; match.any tells a lane how many lanes before it have its expert, a counter per warp and expert in shared memory how many
// of the warp's earlier pairs. No atomics where order matters, so that the order is the same in every run.
// Up to 4096 pairs (T = 512 at k = 8) it is one launch, beyond it three: counts of every block, scan and map, scatter.
// Bytes: 4 read and 4 written per pair (a second reading in the three-launch form), 12 per tile: below 1 MB at T = 8192. Latency decides: about
// ten barriers and two passes over shared counters, some 3-5 us a launch on a GPU where all the experts of one layer take 200 us at T = 512.
// Shared memory: 2 bytes per warp and expert, 4 per expert: 17 KB for 256 experts, 34 KB for 512.
#include "kernels/cuda/moe_dispatch.h"

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <string>

#include "kernels/cuda/launch.h"

namespace crossover::cuda::moe {
namespace {

constexpr int kRounds = 4;                    // pairs of a lane
constexpr int kWarpPairs = kRounds * kWarp;   // of a warp
constexpr int kMaxWarps = 32;
constexpr int kBlockPairs = kMaxWarps * kWarpPairs;
constexpr int kPlanThreads = 512;
constexpr std::size_t kSharedBytes = 96 * 1024;

struct Sort {
  const std::int32_t* ids;
  std::int32_t pairs, experts, blocks, tallest;
  std::int32_t* counts;   // [blocks, E]: pairs of each block, then how many the blocks before it have; not used by one block alone
  std::int32_t* first;    // [E + 1]
  std::int32_t* pair_at;  // [pairs]
  Tile* tiles[2];         // short, tall
  std::int32_t* tile_count;  // [2]
};

// Sum of the values of the threads before this one; total: of all. `partial` holds kMaxWarps ints; all threads call.
__device__ int block_exclusive_sum(int value, int* partial, int& total) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp, warps = static_cast<int>(blockDim.x) / kWarp;
  int up_to = value;
#pragma unroll
  for (int step = 1; step < kWarp; step *= 2) {
    const int below = __shfl_up_sync(kAllLanes, up_to, static_cast<unsigned>(step));
    if (lane >= step) up_to += below;
  }
  if (lane == kWarp - 1) partial[warp] = up_to;
  __syncthreads();
  int before = 0;
  total = 0;
  for (int w = 0; w < warps; ++w) {
    if (w == warp) before = total;
    total += partial[w];
  }
  __syncthreads();  // so that the next call may write partial
  return before + up_to - value;
}

__device__ int expert_of(const Sort& sort, std::int64_t pair) {
  const int id = pair < sort.pairs ? sort.ids[pair] : -1;
  return id >= 0 && id < sort.experts ? id : -1;
}
__device__ std::int64_t pair_of(int round) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  return static_cast<std::int64_t>(blockIdx.x) * kBlockPairs + warp * kWarpPairs + round * kWarp + lane;
}

// rank: how many of this warp's earlier pairs have the same expert. seen [warps, E] becomes the number of each warp's pairs.
__device__ void rank_in_warp(const Sort& sort, std::uint16_t* seen, int (&expert)[kRounds], int (&rank)[kRounds]) {
  const int threads = static_cast<int>(blockDim.x), thread = static_cast<int>(threadIdx.x);
  for (int i = thread; i < threads / kWarp * sort.experts; i += threads) seen[i] = 0;
  __syncthreads();
  std::uint16_t* const mine = seen + thread / kWarp * sort.experts;
  const unsigned below = (1u << thread % kWarp) - 1;
#pragma unroll
  for (int round = 0; round < kRounds; ++round) {
    expert[round] = expert_of(sort, pair_of(round));
    const unsigned same = __match_any_sync(kAllLanes, expert[round]);
    const int before = expert[round] < 0 ? 0 : mine[expert[round]];
    rank[round] = before + __popc(same & below);
    __syncwarp();
    if (expert[round] >= 0 && (same & below) == 0) mine[expert[round]] = static_cast<std::uint16_t>(before + __popc(same));
    __syncwarp();
  }
  __syncthreads();
}

// seen [warps, E] becomes the sum over the warps before; total [E] the block's count.
__device__ void sum_warps(const Sort& sort, std::uint16_t* seen, int* total) {
  const int warps = static_cast<int>(blockDim.x) / kWarp;
  for (int e = static_cast<int>(threadIdx.x); e < sort.experts; e += static_cast<int>(blockDim.x)) {
    int sum = 0;
    for (int w = 0; w < warps; ++w) {
      const int count = seen[w * sort.experts + e];
      seen[w * sort.experts + e] = static_cast<std::uint16_t>(sum);
      sum += count;
    }
    total[e] = sum;
  }
  __syncthreads();
}

// total [E] becomes first [E]; writes first and the map. Each thread takes neighbouring experts, so that sums before it are one scan.
__device__ void plan(const Sort& sort, int* total, int* partial) {
  const int threads = static_cast<int>(blockDim.x), each = (sort.experts + threads - 1) / threads;
  const int begin = min(static_cast<int>(threadIdx.x) * each, sort.experts), end = min(begin + each, sort.experts);
  int rows = 0, short_tiles = 0, tall_tiles = 0, all_rows = 0, all_short = 0, all_tall = 0;
  for (int e = begin; e < end; ++e) {
    rows += total[e];
    for (int i = 0; i < tiles_of(total[e], sort.tallest); ++i) ++(rows_of_tile(total[e], sort.tallest, i) <= kShort ? short_tiles : tall_tiles);
  }
  int at = block_exclusive_sum(rows, partial, all_rows);
  int next_short = block_exclusive_sum(short_tiles, partial, all_short), next_tall = block_exclusive_sum(tall_tiles, partial, all_tall);
  for (int e = begin; e < end; ++e) {
    const int count = total[e];
    for (int i = 0; i < tiles_of(count, sort.tallest); ++i) {
      const Tile tile{e, at + i * height_of(count, sort.tallest), rows_of_tile(count, sort.tallest, i)};
      if (tile.rows <= kShort) sort.tiles[0][next_short++] = tile;
      else sort.tiles[1][next_tall++] = tile;
    }
    total[e] = sort.first[e] = at;
    at += count;
  }
  if (threadIdx.x == 0) sort.first[sort.experts] = all_rows, sort.tile_count[0] = all_short, sort.tile_count[1] = all_tall;
  __syncthreads();
}

// Shared memory of a block: partial [kMaxWarps], total [E], seen [warps, E].
struct Scratch {
  int *partial, *total;
  std::uint16_t* seen;
  __device__ explicit Scratch(int experts)
      : partial(dynamic_shared<int>()), total(partial + kMaxWarps), seen(reinterpret_cast<std::uint16_t*>(total + experts)) {}
};

__global__ void __launch_bounds__(kMaxWarps* kWarp, 1) sort_in_one_block(Sort sort) {
  wait_for_launches_before();
  const Scratch scratch(sort.experts);
  int expert[kRounds], rank[kRounds];
  rank_in_warp(sort, scratch.seen, expert, rank);
  sum_warps(sort, scratch.seen, scratch.total);
  plan(sort, scratch.total, scratch.partial);
  const std::uint16_t* const before = scratch.seen + static_cast<int>(threadIdx.x) / kWarp * sort.experts;
#pragma unroll
  for (int round = 0; round < kRounds; ++round)
    if (expert[round] >= 0) sort.pair_at[scratch.total[expert[round]] + before[expert[round]] + rank[round]] = static_cast<std::int32_t>(pair_of(round));
}

// Sums of integers: the order of atomics does not show.
__global__ void __launch_bounds__(kMaxWarps* kWarp, 1) count_blocks(Sort sort) {
  wait_for_launches_before();
  int* const total = Scratch(sort.experts).total;
  const int thread = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
  for (int e = thread; e < sort.experts; e += threads) total[e] = 0;
  __syncthreads();
#pragma unroll
  for (int round = 0; round < kRounds; ++round)
    if (const int e = expert_of(sort, pair_of(round)); e >= 0) atomicAdd(&total[e], 1);
  __syncthreads();
  for (int e = thread; e < sort.experts; e += threads) sort.counts[static_cast<std::int64_t>(blockIdx.x) * sort.experts + e] = total[e];
}

__global__ void __launch_bounds__(kPlanThreads) plan_tiles(Sort sort) {
  wait_for_launches_before();
  const Scratch scratch(sort.experts);
  for (int e = static_cast<int>(threadIdx.x); e < sort.experts; e += kPlanThreads) {
    int sum = 0;
#pragma unroll 8
    for (int b = 0; b < sort.blocks; ++b) {
      std::int32_t& count = sort.counts[static_cast<std::int64_t>(b) * sort.experts + e];
      const int own = count;
      count = sum;
      sum += own;
    }
    scratch.total[e] = sum;
  }
  __syncthreads();
  plan(sort, scratch.total, scratch.partial);
}

__global__ void __launch_bounds__(kMaxWarps* kWarp, 1) scatter_pairs(Sort sort) {
  wait_for_launches_before();
  const Scratch scratch(sort.experts);
  int expert[kRounds], rank[kRounds];
  rank_in_warp(sort, scratch.seen, expert, rank);
  sum_warps(sort, scratch.seen, scratch.total);
  const std::int32_t* const blocks_before = sort.counts + static_cast<std::int64_t>(blockIdx.x) * sort.experts;
  const std::uint16_t* const before = scratch.seen + static_cast<int>(threadIdx.x) / kWarp * sort.experts;
#pragma unroll
  for (int round = 0; round < kRounds; ++round)
    if (const int e = expert[round]; e >= 0)
      sort.pair_at[sort.first[e] + blocks_before[e] + before[e] + rank[round]] = static_cast<std::int32_t>(pair_of(round));
}

}  // namespace

Dispatch sort_by_expert(Context& ctx, std::span<const std::int32_t> ids, std::int64_t experts, int tallest) {
  const Range range(ctx.trace, "moe.bucket");
  const auto pairs = static_cast<std::int64_t>(ids.size());
  if (pairs > std::numeric_limits<std::int32_t>::max())
    throw std::invalid_argument("moe_experts: asked for " + std::to_string(pairs) + " (token, expert) pairs, a pass may have 2147483647; use a shorter pass");
  const std::int64_t blocks = (pairs + kBlockPairs - 1) / kBlockPairs;
  const std::int64_t most = most_tiles(pairs, experts, tallest), most_tall = most_tall_tiles(pairs, tallest);
  const auto warps = static_cast<int>(std::min<std::int64_t>(kMaxWarps, (pairs + kWarpPairs - 1) / kWarpPairs));
  const auto shared_of = [&](int of_warps) { return static_cast<std::size_t>(4 * kMaxWarps + experts * (4 + 2 * of_warps)); };
  if (shared_of(warps) > kSharedBytes)
    throw std::invalid_argument("moe_experts: asked for " + std::to_string(experts) + " experts, whose counters need " + std::to_string(shared_of(warps)) +
                                " bytes of shared memory; " + std::to_string(kSharedBytes) + " are there");
  auto list = [&]<class T>(T*& to, const char* name, std::int64_t count) {
    to = reinterpret_cast<T*>(ctx.workspace.bytes(name, static_cast<std::size_t>(count) * sizeof(T)));
  };
  Sort sort{ids.data(), static_cast<std::int32_t>(pairs), static_cast<std::int32_t>(experts), static_cast<std::int32_t>(blocks), tallest, {}, {}, {}, {}, {}};
  list(sort.first, "cuda.moe.first", experts + 1), list(sort.pair_at, "cuda.moe.pair_at", pairs);
  list(sort.tiles[0], "cuda.moe.short_tiles", most), list(sort.tiles[1], "cuda.moe.tall_tiles", most_tall), list(sort.tile_count, "cuda.moe.tile_count", 2);
  const Shape shape{dim3(static_cast<unsigned>(blocks)), dim3(static_cast<unsigned>(warps * kWarp)), shared_of(warps)};
  if (blocks == 1) {
    launch(ctx, "moe.sort", sort_in_one_block, shape, sort);
  } else {
    list(sort.counts, "cuda.moe.counts", blocks * experts);
    launch(ctx, "moe.count", count_blocks, shape, sort);
    launch(ctx, "moe.plan", plan_tiles, {dim3(1), dim3(kPlanThreads), shared_of(0)}, sort);
    launch(ctx, "moe.scatter", scatter_pairs, shape, sort);
  }
  return {sort.first, sort.pair_at, {{sort.tiles[0], sort.tile_count, most}, {sort.tiles[1], sort.tile_count + 1, most_tall}}};
}

}  // namespace crossover::cuda::moe
