// The choice of a kernel and the splits of the keys: from the shape alone, every key in exactly one split, enough blocks for a GPU.
#include "kernels/cuda/attention_plan.h"

#include <gtest/gtest.h>

namespace crossover::cuda {
namespace {

constexpr std::size_t kA100 = 163 * 1024, kAda = 99 * 1024, kHopper = 227 * 1024;

AttentionShape shape(std::int64_t tokens, std::int64_t past, std::int64_t heads = 16, std::int64_t kv_heads = 2) {
  return {tokens, past, heads, kv_heads, 256, DType::kF16, DType::kF16};
}

TEST(AttentionPlan, EveryKeyAndRowIsInOneBlock) {
  for (const std::int64_t heads : {16, 24})
    for (const std::int64_t tokens : {1, 2, 3, 5, 8, 64, 511, 512, 8192})
      for (const std::int64_t past : {0, 1, 63, 64, 4095, 32768, 262144})
        for (const std::size_t shared : {kA100, kAda, kHopper}) {
          AttentionShape s = shape(tokens, past, heads, heads == 16 ? 2 : 4);
          s.warpgroups = shared == kHopper;
          const AttentionPlan plan = plan_attention(s, shared);
          EXPECT_GE(plan.splits * plan.split_keys, s.keys_seen());
          EXPECT_LT((plan.splits - 1) * plan.split_keys, s.keys_seen()) << "an empty split";
          EXPECT_GE(plan.tiles * plan.tile_rows, s.rows());
          EXPECT_LT((plan.tiles - 1) * plan.tile_rows, s.rows());
          EXPECT_LE(plan.splits, kBlocksWanted);
        }
}

TEST(AttentionPlan, AKernelForEveryShape) {
  const auto kernel = [](const AttentionShape& s, std::size_t shared = kA100) { return plan_attention(s, shared).kernel; };
  EXPECT_EQ(kernel(shape(1, 4096)), AttentionKernel::kFew);
  EXPECT_EQ(kernel(shape(4, 4096)), AttentionKernel::kFew);
  EXPECT_EQ(kernel(shape(5, 4096)), AttentionKernel::kTiles);
  EXPECT_EQ(kernel(shape(5, 4096, 24, 4)), AttentionKernel::kFew);
  AttentionShape quantized = shape(8, 4096);
  quantized.keys = DType::kQ8_0;
  EXPECT_EQ(kernel(quantized), AttentionKernel::kFew);
  quantized.tokens = 9;
  EXPECT_EQ(kernel(quantized), AttentionKernel::kTiles);
  EXPECT_EQ(kernel(shape(512, 0), kAda), AttentionKernel::kTiles);
  EXPECT_EQ(kernel(shape(512, 0), 48 * 1024), AttentionKernel::kAny);
  for (const std::int64_t tokens : {1, 512}) {
    AttentionShape other = shape(tokens, 100);
    other.dim = 128;
    EXPECT_EQ(kernel(other), AttentionKernel::kAny);
    for (const DType type : {DType::kF32, DType::kQ6_K}) {
      AttentionShape keys = shape(tokens, 100), values = shape(tokens, 100);
      keys.keys = type, values.values = type;
      EXPECT_EQ(kernel(keys), AttentionKernel::kAny);
      EXPECT_EQ(kernel(values), AttentionKernel::kAny);
    }
    AttentionShape odd = shape(tokens, 100);
    odd.aligned = false;  // many tokens copy the cache anyway
    EXPECT_EQ(kernel(odd), tokens == 1 ? AttentionKernel::kAny : AttentionKernel::kTiles);
  }
}

TEST(AttentionPlan, TilesAreLargeWhereTheyFillADevice) {
  EXPECT_EQ(plan_attention(shape(8192, 0), kA100).tile_rows, 128);
  EXPECT_EQ(plan_attention(shape(8192, 0), kAda).tile_rows, 64);
  EXPECT_EQ(plan_attention(shape(512, 0), kA100).tile_rows, 64);
  EXPECT_EQ(plan_attention(shape(1, 0), kA100).tile_rows, 8);
  EXPECT_EQ(plan_attention(shape(2, 0), kA100).tile_rows, 16);
}

TEST(AttentionPlan, WarpgroupsTakeManyRowsAndFillADeviceByOneBlockEach) {
  const auto plan = [](std::int64_t tokens, std::int64_t past, std::size_t shared = kHopper) {
    AttentionShape s = shape(tokens, past);
    s.warpgroups = true;
    return plan_attention(s, shared);
  };
  EXPECT_EQ(plan(9, 0).kernel, AttentionKernel::kWarpgroups);
  EXPECT_EQ(plan(9, 0).tile_rows, kGroupTileRows);
  EXPECT_EQ(plan(8, 0).kernel, AttentionKernel::kTiles) << "half a tile";
  EXPECT_EQ(plan(1, 8192).kernel, AttentionKernel::kFew);
  EXPECT_EQ(plan(512, 0, kA100).kernel, AttentionKernel::kTiles) << "no room";
  EXPECT_EQ(plan(8192, 0).splits, 1);
  const AttentionPlan few = plan(512, 32768);
  EXPECT_EQ(few.split_keys % kGroupTileKeys, 0);
  EXPECT_GT(few.splits * few.tiles * 2, kGroupBlocksWanted * 3 / 4);
  EXPECT_LE(few.splits * few.tiles * 2, kGroupBlocksWanted);
}

TEST(AttentionPlan, LongCachesMakeAboutTwoBlocksForEachMultiprocessor) {
  for (const std::int64_t past : {16384, 32768, 100000, 262143}) {
    const AttentionPlan few = plan_attention(shape(1, past), kA100), tiles = plan_attention(shape(8, past), kA100);
    EXPECT_GE(few.splits * few.tiles * 2, kBlocksWanted * 3 / 4) << past;
    EXPECT_LE(few.splits * few.tiles * 2, kBlocksWanted) << past;
    EXPECT_EQ(few.split_keys % kFewKeys, 0);
    EXPECT_EQ(tiles.split_keys % kTileSplitKeys, 0);
  }
  EXPECT_EQ(plan_attention(shape(8192, 8192), kA100).splits, 1);
  EXPECT_EQ(plan_attention(shape(1, 63), kA100).splits, 1);
}

}  // namespace
}  // namespace crossover::cuda
