// How a product's K is split over blocks, and that the parts add up.
#include <gtest/gtest.h>

#include <cmath>

#include "kernels/cuda/bf16_rows.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/linear.h"
#include "kernels/cuda/runtime.h"
#include "kernels/tests/test_context.h"

namespace crossover::cuda {
namespace {

GemmShape shape(std::int64_t tokens, std::int64_t rows, std::int64_t values, std::int64_t tile_tokens, std::int64_t tile_rows, int resident) {
  return {tokens, rows, values, tile_tokens, tile_rows, static_cast<int>((values + 255) / 256), resident};
}

TEST(GemmSplit, PartsCoverAllOfKAndNoneIsEmpty) {
  for (const std::int64_t tokens : {9, 16, 64, 130, 2048})
    for (const std::int64_t rows : {1, 70, 2048, 5120, 17408})
      for (const std::int64_t values : {256, 512, 2304, 4096, 17408})
        for (const int resident : {3, 132, 264}) {
          const GemmShape s = shape(tokens, rows, values, 64, 128, resident);
          const GemmSplit split = split_gemm(s);
          EXPECT_GE(split.splits * split.slices_each, s.slices);
          EXPECT_LT((split.splits - 1) * split.slices_each, s.slices);
          EXPECT_LE(split.splits, kMostSplits);
        }
}

TEST(GemmSplit, FewRowsFillTheDevice) {
  const GemmSplit split = split_gemm(shape(16, 5120, 17408, 16, 128, 264));  // 40 blocks for 264 places
  EXPECT_GE(40 * split.splits, 200);
  EXPECT_LE(40 * split.splits, 264);
}

TEST(GemmSplit, AFullGridIsNotSplit) { EXPECT_EQ(split_gemm(shape(4096, 17408, 5120, 128, 256, 132)).splits, 1); }

TEST(GemmSplit, AProductTooSmallForASecondLaunchIsNotSplit) { EXPECT_EQ(split_gemm(shape(16, 512, 2048, 16, 128, 3)).splits, 1); }

TEST(GemmSplit, BlocksThatFit) {
  EXPECT_EQ(blocks_that_fit(227 * 1024, 76 * 1024), 2);
  EXPECT_EQ(blocks_that_fit(163 * 1024, 152 * 1024), 1);
  EXPECT_EQ(blocks_that_fit(99 * 1024, 152 * 1024), 1);
}

TEST(GemmSplit, PartsAddUp) {
  if (std::string why; device_count(&why) == 0) GTEST_SKIP() << why;
  using testing::Grid, testing::Matrix;
  testing::TestContext tested({cuda_ops, std::nullopt, 1});
  Device device(0);
  tested.context.device = &device;
  constexpr std::int64_t kRows = 40, kValues = 5 * 256;
  for (const DType type : {DType::kQ6_K, DType::kQ4_1})
    for (const std::int64_t tokens : {11, 70})
      for (const bool paired : {false, true}) {
        if (paired && !tuned(type)) continue;
        testing::Random random(5);
        const Matrix weight = Matrix(type, kRows, kValues).fill(random, 0.05f), up = Matrix(type, kRows, kValues).fill(random, 0.05f);
        const Grid x = Grid(tokens, kValues).fill(random);
        Grid whole(tokens, kRows, 1), parts(tokens, kRows, 3);
        auto* const rows = reinterpret_cast<Bf16*>(tested.context.workspace.bytes("x", bf16_bytes(tokens, kValues)));
        to_bf16_rows(tested, x, rows);
        gemm(tested, rows, {weight, whole, paired ? up.tensor() : Tensor{}}, 1);
        gemm(tested, rows, {weight, parts, paired ? up.tensor() : Tensor{}}, 3);
        synchronize(tested);
        for (std::int64_t t = 0; t < tokens; ++t)
          for (std::int64_t n = 0; n < kRows; ++n)
            ASSERT_NEAR(parts.at(t, n), whole.at(t, n), 1e-4 + 1e-4 * std::fabs(whole.at(t, n))) << name(type) << " row " << n << " token " << t << (paired ? " paired" : "");
      }
}

}  // namespace
}  // namespace crossover::cuda
