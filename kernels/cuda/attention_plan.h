// Which kernel attends and how keys are split among blocks. Host code, from the shape and the shared memory of a block: the same shape gives the same
// order of sums in every run and on every device of a kind.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "kernels/tensor.h"

namespace crossover::cuda {

// kAny: f32 arithmetic, every type and head. Tensor cores for heads of 256: kFew splits keys among warps, kTiles rows of queries, kWarpgroups rows among
// warpgroups.
enum class AttentionKernel : std::uint8_t { kAny, kFew, kTiles, kWarpgroups };

struct AttentionShape {
  std::int64_t tokens = 0, past = 0, heads = 0, kv_heads = 0, dim = 0;
  DType keys = DType::kF16, values = DType::kF16;
  bool aligned = true;  // caches: every head of every row begins at 16 bytes
  bool warpgroups = false;  // may be used: kWarpgroups in place of kTiles
  std::int64_t rows() const { return tokens * (heads / kv_heads); }  // query rows of a KV head: they share its keys
  std::int64_t keys_seen() const { return past + tokens; }
};

struct AttentionPlan {
  AttentionKernel kernel = AttentionKernel::kAny;
  int tile_rows = 0;             // query rows of a block
  std::int64_t tiles = 0;        // of a KV head
  std::int64_t split_keys = 0;   // of a block; the last split may have fewer
  std::int64_t splits = 0;
};

inline constexpr std::int64_t kAttentionHeadDim = 256;  // of the kernels on tensor cores: the head of every model of this engine
// Rows of queries of a KV head up to which kFew reads the cache again for every sixteen, from L2 but for the first time. kTiles would read it once, but
// only after a copy of what is not of the products' type has been written.
inline constexpr std::int64_t kFewRows = 32, kFewRowsCopied = 64;
inline constexpr std::int64_t kBlocksWanted = 264;      // two for each multiprocessor of an H100
inline constexpr int kAnyRows = 16, kAnyKeys = 32, kFewKeys = 64, kTileKeys = 64;
inline constexpr std::int64_t kTileSplitKeys = 512;     // fewer are not worth the partial results: 1 KiB for each of 64 rows
// Bytes of shared memory of a block of kTiles: queries, a tile of keys, one of values, three floats a row; and where there is room for 128 rows, there is
// for their weights too, which else take the place of the keys and hold up the next.
inline constexpr int kOwnWeightRows = 128;
constexpr std::size_t tile_shared(int rows) {
  return static_cast<std::size_t>((rows + 2 * kTileKeys) * 512 + rows * 12 + (rows == kOwnWeightRows ? rows * kTileKeys * 2 : 0));
}

// Of kWarpgroups, one block a multiprocessor: queries, two tiles of keys and two of values, barriers, and what puts them at a multiple of 1024.
inline constexpr int kGroupTileRows = 128, kGroupTileKeys = 80;
inline constexpr std::int64_t kGroupBlocksWanted = kBlocksWanted / 2, kGroupSplitKeys = 7 * kGroupTileKeys;
inline constexpr std::size_t kGroupShared = (kGroupTileRows + 4 * kGroupTileKeys) * 512 + 1024 + 128;

// Formats whose rows copy_async moves and whose codes become halves: a head of 256 is whole groups of 16 bytes.
inline bool in_halves(DType type) { return type != DType::kF32 && type != DType::kQ6_K; }

// Halves where no cache is bf16.
inline DType product_type(DType keys, DType values) { return keys == DType::kBF16 || values == DType::kBF16 ? DType::kBF16 : DType::kF16; }

// Keys of a split, whole units, so that `blocks` blocks for each split make about `blocks_wanted`.
inline std::int64_t split_keys(std::int64_t keys, std::int64_t blocks, std::int64_t unit, std::int64_t blocks_wanted = kBlocksWanted) {
  const std::int64_t wanted = std::max<std::int64_t>(1, blocks_wanted / blocks), each = (keys + wanted - 1) / wanted;
  return (each + unit - 1) / unit * unit;
}

inline AttentionPlan plan_attention(const AttentionShape& s, std::size_t shared_bytes) {
  AttentionPlan plan;
  const auto up = [](std::int64_t n, std::int64_t each) { return (n + each - 1) / each; };
  const bool halves = s.dim == kAttentionHeadDim && in_halves(s.keys) && in_halves(s.values) && shared_bytes >= tile_shared(64);
  const DType product = product_type(s.keys, s.values);
  const bool few = s.rows() <= (s.keys == product && s.values == product ? kFewRows : kFewRowsCopied);
  std::int64_t unit = kAnyKeys, blocks_wanted = kBlocksWanted;
  if (!halves || (few && !s.aligned)) {
    plan.tile_rows = kAnyRows;
  } else if (few) {
    plan.kernel = AttentionKernel::kFew, plan.tile_rows = s.rows() <= 8 ? 8 : 16, unit = kFewKeys;
  } else if (s.warpgroups && s.rows() > kGroupTileRows / 2 && shared_bytes >= kGroupShared) {
    plan.kernel = AttentionKernel::kWarpgroups, plan.tile_rows = kGroupTileRows, unit = kGroupSplitKeys, blocks_wanted = kGroupBlocksWanted;
  } else {
    const bool large = shared_bytes >= tile_shared(128) && up(s.rows(), 128) * s.kv_heads >= kBlocksWanted / 2;
    plan.kernel = AttentionKernel::kTiles, plan.tile_rows = large ? 128 : 64, unit = kTileSplitKeys;
  }
  plan.tiles = up(s.rows(), plan.tile_rows);
  plan.split_keys = split_keys(s.keys_seen(), plan.tiles * s.kv_heads, unit, blocks_wanted);
  plan.splits = up(s.keys_seen(), plan.split_keys);
  return plan;
}

}  // namespace crossover::cuda
