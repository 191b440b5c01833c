// Which rows an expert multiplies: the (token, choice) pairs of a pass sorted by expert, and the tiles of a grouped product over them, made
// on the device so that the host never waits. A pair is token * k + choice; a position is its place in the sorted order.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/cuda/device.h"
#include "kernels/ops.h"

namespace crossover::cuda::moe {

inline constexpr int kTallest = 128;  // rows of the highest tile

// Rows of a tile: an expert's positions first .. first + rows - 1, rows <= kTallest.
struct Tile {
  std::int32_t expert, first, rows;
};

// An expert's rows are cut into tiles of kTallest and one of the rest: its weights are read once per tile, and from T = 4096 on, where 35B
// has 128 rows an expert, the products and not the weights decide.
__host__ __device__ inline int tiles_of(int rows) { return (rows + kTallest - 1) / kTallest; }
__host__ __device__ inline int rows_of_tile(int rows, int tile) { return rows - tile * kTallest < kTallest ? rows - tile * kTallest : kTallest; }

// The height that wastes least of the tensor core: what a tile computes are rows of zeros above `rows`.
__host__ __device__ inline int height_of(int rows) { return rows <= 16 ? 16 : rows <= 32 ? 32 : rows <= 64 ? 64 : kTallest; }

// No pass has more tiles: every expert that is hit has at most one that is not full.
inline std::int64_t most_tiles(std::int64_t pairs, std::int64_t experts) { return pairs / kTallest + (experts < pairs ? experts : pairs); }

// All in the workspace, valid until the next call.
struct Dispatch {
  const std::int32_t* first;    // [E + 1]: positions of expert e are first[e] .. first[e + 1] - 1
  const std::int32_t* pair_at;  // [pairs]: by position; of an expert in ascending order
  const Tile* tiles;            // [most_tiles], those of an expert side by side
  const std::int32_t* count;    // [1]: tiles there are
  std::int64_t most;            // that there can be: blocks to launch
};

// ids [pairs] in device memory. A pair whose id is no expert has no position. std::invalid_argument when the experts are more than the
// counters of a block hold (about 1400), or the pairs 2^31.
Dispatch dispatch(Context& ctx, std::span<const std::int32_t> ids, std::int64_t experts);

}  // namespace crossover::cuda::moe
