// The GEMM of warpgroups against that of warps: every type, ends of rows, tokens and K, pairs, parts of K, and the orders of its threads. Against the
// reference it is in the suite (cuda_ops_test.cpp).
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>

#include "kernels/cuda/bf16_rows.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/emulator/machine.h"
#include "kernels/cuda/linear.h"
#include "kernels/cuda/runtime.h"
#include "kernels/tests/test_context.h"

namespace crossover::cuda {
namespace {

using testing::Grid, testing::Matrix, testing::Random;

struct Product {
  DType type;
  std::int64_t tokens, rows, values;
  bool paired = false;
  int splits = 0;  // as split_gemm says
};
std::string name_of(const Product& p) {
  return std::string(name(p.type)) + " [" + std::to_string(p.rows) + ", " + std::to_string(p.values) + "] by " + std::to_string(p.tokens) + " tokens" +
         (p.paired ? ", paired" : "") + ", splits " + std::to_string(p.splits);
}

// All rows but the first, so that those of Q6_K begin at no multiple of 16 bytes.
Tensor behind_first(const Matrix& matrix) {
  const Tensor all = matrix.tensor();
  return {all.data + all.row_stride(), all.dtype, {1, all.rows() - 1, all.cols()}};
}

class GemmWarpgroup : public ::testing::Test {
 protected:
  GemmWarpgroup() : tested_({cuda_ops, std::nullopt, 1}) {
    emulated::set_compute_capability(90);
    by_groups_.emplace(0), by_warps_.emplace(0);
    emulated::set_compute_capability(80);
    by_groups_->use_warpgroups();
  }

  Grid run(Device& device, const Product& p, std::uint64_t seed = 1) {
    emulated::set_seed(seed);
    tested_.context.device = &device;
    Random random(11);
    const Matrix weight = Matrix(p.type, p.rows + 1, p.values).fill(random, 0.05f);
    const Matrix up = Matrix(p.type, p.paired ? p.rows + 1 : 1, p.values).fill(random, 0.05f);
    const Grid x = Grid(p.tokens, p.values).fill(random);
    Grid out(p.tokens, p.rows, p.rows % 4 == 0 ? 4 : 3);
    auto* const rows = reinterpret_cast<Bf16*>(tested_.context.workspace.bytes("x", bf16_bytes(p.tokens, p.values)));
    to_bf16_rows(tested_, x, rows);
    gemm(tested_, rows, {behind_first(weight), out, p.paired ? behind_first(up) : Tensor{}}, p.splits);
    synchronize(tested_);
    out.expect_gaps_untouched();
    return out;
  }
  Grid by_groups(const Product& p, std::uint64_t seed = 1) { return run(*by_groups_, p, seed); }

  void expect_like_warps(const Product& p) {
    const std::int64_t launches = by_groups_->launches();
    const Grid groups = by_groups(p), warps = run(*by_warps_, p);
    EXPECT_GT(by_groups_->launches(), launches);
    float largest = 0;
    for (std::int64_t t = 0; t < p.tokens; ++t)
      for (std::int64_t n = 0; n < p.rows; ++n) largest = std::max(largest, std::fabs(warps.at(t, n)));
    for (std::int64_t t = 0; t < p.tokens; ++t)
      for (std::int64_t n = 0; n < p.rows; ++n) ASSERT_NEAR(groups.at(t, n), warps.at(t, n), 2e-5f * largest) << name_of(p) << ": row " << n << " token " << t;
  }

  testing::TestContext tested_;
  std::optional<Device> by_groups_, by_warps_;
};

TEST_F(GemmWarpgroup, EveryTypeAndEnd) {
  for (const DType type : {DType::kQ6_K, DType::kBF16, DType::kF16, DType::kQ8_0, DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ5_1}) {
    const std::int64_t block = type == DType::kQ6_K ? 256 : 32;
    for (const std::int64_t values : {block, 3 * block, 5 * block, std::int64_t{1280}}) expect_like_warps({type, 66, 33, values});
    expect_like_warps({type, 129, 70, 5 * block});
    expect_like_warps({type, 128, 256, 3 * block});
  }
}

TEST_F(GemmWarpgroup, TilesGoRoundTheBlocks) {  // of which the emulated device has three
  for (const DType type : {DType::kQ6_K, DType::kBF16})
    for (const bool paired : {false, true}) {
      expect_like_warps({type, 300, 300, 512, paired});
      expect_like_warps({type, 66, 1030, 256, paired});
      expect_like_warps({type, 128, 768, 256, paired, 1});
    }
}

TEST_F(GemmWarpgroup, PartsOfK) {
  for (const DType type : {DType::kQ6_K, DType::kBF16, DType::kQ4_0})
    for (const bool paired : {false, true})
      for (const int splits : {2, 4}) {
        if (paired && !tuned(type)) continue;
        expect_like_warps({type, 66, 130, 1024, paired, splits});
        if (type != DType::kQ6_K) expect_like_warps({type, 65, 40, 800, paired, splits});
      }
}

TEST_F(GemmWarpgroup, AnyOrderOfThreadsGivesTheSameBits) {
  for (const Product& p : {Product{DType::kQ6_K, 130, 300, 1024}, Product{DType::kQ6_K, 130, 130, 768, true}, Product{DType::kBF16, 200, 270, 544},
                           Product{DType::kQ5_1, 90, 600, 352}}) {
    const Grid first = by_groups(p, 1);
    for (const std::uint64_t seed : {2, 3, 4, 5, 6}) {
      const Grid again = by_groups(p, seed);
      for (std::int64_t t = 0; t < p.tokens; ++t)
        for (std::int64_t n = 0; n < p.rows; ++n)
          ASSERT_EQ(again.at(t, n), first.at(t, n)) << name_of(p) << ", seed " << seed << ": row " << n << " token " << t;
    }
  }
}

TEST_F(GemmWarpgroup, TakenForMoreThanHalfATileOfTokensWhereAsked) {
  EXPECT_TRUE(by_warpgroups(*by_groups_, 65));
  EXPECT_FALSE(by_warpgroups(*by_groups_, 64));
  EXPECT_FALSE(by_warpgroups(*by_warps_, 2048));
}

}  // namespace
}  // namespace crossover::cuda
