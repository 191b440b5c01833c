// Which rows an expert multiplies: the (token, choice) pairs of a pass sorted by expert, and the tiles of a grouped product over them, made
// on the device so that the host never waits. A pair is token * k + choice; a position is its place in the sorted order.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/cuda/device.h"
#include "kernels/ops.h"

namespace crossover::cuda::moe {

inline constexpr int kTallest = 128, kShort = 32;  // rows of the highest tile; tiles up to kShort rows are a kernel's of their own
inline constexpr int kHeightStep = 32;             // a tile is multiplied in steps of so many rows

// Rows of a tile: an expert's positions first .. first + rows - 1, 1 <= rows <= kTallest.
struct Tile {
  std::int32_t expert, first, rows;
};

// An expert's rows are cut into as few tiles of at most `tallest` rows as hold them, so that its weights are unpacked as seldom as possible,
// and these into equal multiples of kHeightStep: 130 rows as 96 + 34, since a tile of two rows takes as long as one of thirty (unpacking).
__host__ __device__ inline int tiles_of(int rows, int tallest) { return (rows + tallest - 1) / tallest; }
__host__ __device__ inline int height_of(int rows, int tallest) {
  const int tiles = tiles_of(rows, tallest), each = tiles == 0 ? 0 : (rows + tiles - 1) / tiles;
  return (each + kHeightStep - 1) / kHeightStep * kHeightStep;
}
__host__ __device__ inline int rows_of_tile(int rows, int tallest, int tile) {
  const int height = height_of(rows, tallest), left = rows - tile * height;
  return left < height ? left : height;
}

// No pass has more: every expert that is hit has at most one tile more than full ones would be.
inline std::int64_t most_tiles(std::int64_t pairs, std::int64_t experts, int tallest) { return pairs / tallest + (experts < pairs ? experts : pairs); }
// Of more than kShort rows.
inline std::int64_t most_tall_tiles(std::int64_t pairs, int tallest) { return tallest > kShort ? pairs / (kShort + 1) : 0; }

// Tiles of one kind: those of an expert lie side by side.
struct TileList {
  const Tile* tiles;
  const std::int32_t* count;  // [1]
  std::int64_t most;          // that there can be: what to launch
};

// All in the workspace, valid until the next call.
struct Dispatch {
  const std::int32_t* first;    // [E + 1]: positions of expert e are first[e] .. first[e + 1] - 1
  const std::int32_t* pair_at;  // [pairs]: by position; of an expert in ascending order
  TileList tiles[2];            // of at most kShort rows, of more
};

// ids [pairs] in device memory; tallest: kTallest, or kShort where no kernel takes more. A pair whose id is no expert has no position. std::invalid_argument when the experts are more than the
// counters of a block hold (about 1400), or the pairs 2^31.
Dispatch sort_by_expert(Context& ctx, std::span<const std::int32_t> ids, std::int64_t experts, int tallest);

}  // namespace crossover::cuda::moe
