// Sorting of pairs and the tile map of grouped products: the functions of the host, and the kernels on the emulated device.
#include "kernels/cuda/moe_dispatch.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "kernels/cuda/runtime.h"
#include "kernels/tests/test_context.h"

namespace crossover::cuda::moe {
namespace {

using Ids = std::vector<std::int32_t>;

TEST(MoeTiles, HoldEveryRowOnce) {
  for (int rows = 0; rows <= 9 * kTallest + 1; ++rows)
    for (const int tallest : {kShort, kTallest}) {
      const int tiles = tiles_of(rows, tallest);
      int sum = 0;
      for (int i = 0; i < tiles; ++i) {
        const int of_tile = rows_of_tile(rows, tallest, i);
        EXPECT_GE(of_tile, 1) << rows;
        EXPECT_LE(of_tile, tallest);
        EXPECT_TRUE(of_tile % kHeightStep == 0 || i == tiles - 1) << rows;
        EXPECT_EQ(i * height_of(rows, tallest), sum);  // where the map says it begins
        sum += of_tile;
      }
      EXPECT_EQ(sum, rows);
      EXPECT_LT(rows_of_tile(rows, tallest, 0) - rows_of_tile(rows, tallest, tiles - 1), std::max(1, tiles) * kHeightStep) << rows << ": tiles are not even";
    }
}

TEST(MoeTiles, AreNeverMoreThanTheLaunchAllows) {
  for (const int experts : {1, 3, 256})
    for (const int pairs : {1, 2, 127, 128, 129, 4096, 5000})
      for (int hit = 1; hit <= std::min(experts, pairs); hit = hit * 2 + 1) {
        // Worst: one pair for each expert that is hit, and those left over for one of them.
        const std::int64_t tiles = hit - 1 + tiles_of(pairs - hit + 1, kTallest);
        EXPECT_LE(tiles, most_tiles(pairs, experts, kTallest)) << pairs << " pairs, " << hit << " of " << experts;
        // Of tall ones: the pairs spread over as many experts as then have kShort + 1.
        const int each = pairs / hit;
        if (each > kShort) {
          EXPECT_LE(static_cast<std::int64_t>(hit) * tiles_of(each, kTallest), most_tall_tiles(pairs, kTallest)) << pairs << " pairs, " << hit << " of " << experts;
        }
      }
}

void check(const Ids& ids, int experts, std::uint64_t seed, int tallest = kTallest) {
  testing::TestContext context({cuda_ops, std::nullopt, 1});
  Workspace host_memory;
  Device device(0);
  Context ctx{context.context.ops, context.context.pool, host_memory, context.counters, nullptr, nullptr, &device};
  emulated::set_seed(seed);
  const Dispatch found = sort_by_expert(ctx, ids, experts, tallest);

  std::int64_t at = 0, seen[2] = {};
  for (int e = 0; e < experts; ++e) {
    ASSERT_EQ(found.first[e], at) << e;
    int rows = 0;
    for (std::size_t pair = 0; pair < ids.size(); ++pair)
      if (ids[pair] == e) {
        ASSERT_EQ(found.pair_at[at + rows], static_cast<std::int32_t>(pair)) << "expert " << e;
        ++rows;
      }
    for (int i = 0; i < tiles_of(rows, tallest); ++i) {
      const int kind = rows_of_tile(rows, tallest, i) > kShort;
      ASSERT_LT(seen[kind], *found.tiles[kind].count);
      const Tile& tile = found.tiles[kind].tiles[seen[kind]++];
      ASSERT_EQ(tile.expert, e);
      ASSERT_EQ(tile.first, at + i * height_of(rows, tallest));
      ASSERT_EQ(tile.rows, rows_of_tile(rows, tallest, i));
    }
    at += rows;
  }
  EXPECT_EQ(found.first[experts], at);
  for (int kind = 0; kind < 2; ++kind) {
    EXPECT_EQ(*found.tiles[kind].count, seen[kind]);
    EXPECT_LE(seen[kind], found.tiles[kind].most);
  }
}

TEST(MoeDispatch, SortsPairsStably) {
  testing::Random random(1);
  for (const int experts : {1, 6, 256, 512, 1000})
    for (const std::size_t pairs : {1u, 8u, 31u, 33u, 128u, 129u, 520u, 4095u, 4096u, 4097u, 9001u}) {
      SCOPED_TRACE(std::to_string(pairs) + " pairs of " + std::to_string(experts) + " experts");
      Ids ids(pairs);
      for (std::int32_t& id : ids) id = static_cast<std::int32_t>(random() % static_cast<std::uint64_t>(experts));
      for (const std::uint64_t seed : {1u, 2u}) check(ids, experts, seed);
      check(ids, experts, 3, kShort);
    }
}

TEST(MoeDispatch, TakesAllPairsOfOneExpertAndLeavesOthersEmpty) {
  for (const std::size_t pairs : {5u, 4000u, 5000u})
    for (const std::int32_t expert : {0, 3, 7}) check(Ids(pairs, expert), 8, 1);
}

TEST(MoeDispatch, LeavesOutIdsThatAreNoExpert) {
  for (const int repeats : {1, 1000}) {
    Ids ids;
    for (int i = 0; i < repeats; ++i) ids.insert(ids.end(), {2, -1, 0, 5, 2147483647, 4, -2147483647 - 1});
    check(ids, 5, 1);
  }
}

TEST(MoeDispatch, RefusesMoreExpertsThanItsCountersHold) {
  EXPECT_THROW(check(Ids(5000, 0), 100000, 1), std::invalid_argument);
}

}  // namespace
}  // namespace crossover::cuda::moe
