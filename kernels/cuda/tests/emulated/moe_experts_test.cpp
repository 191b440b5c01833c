// Experts on the emulated device: every path with the routings and operands that the operation suite does not have.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/moe_path.h"
#include "kernels/cuda/runtime.h"
#include "kernels/tests/moe_inputs.h"
#include "kernels/tests/test_context.h"

namespace crossover::cuda {
namespace {

using moe::Path;
using testing::Grid;
using testing::Matrix;
using testing::Random;
using testing::Layer;
using testing::Routing;
using testing::TestContext;
using testing::uneven;

MoeExperts experts_of(const Layer& layer, const Grid& x, const Routing& routing, MoeMode mode) {
  return {x, routing.ids, routing.weights, layer.gate, layer.up, layer.down, mode};
}

Grid run(const MoeExperts& moe, std::map<std::string, std::string, std::less<>>* paths = nullptr) {
  TestContext context({cuda_ops, std::nullopt, 1});
  Device device(0);
  context.context.device = &device;
  Grid out(moe.x.rows, moe.x.dim, 2);
  moe_experts(context, moe, out);
  out.expect_gaps_untouched();
  if (paths) *paths = context.counters.paths;
  return out;
}

Grid reference(const MoeExperts& moe) {
  TestContext context(testing::reference_backend());
  Grid out(moe.x.rows, moe.x.dim);
  reference_ops().moe_experts(context, moe, out);
  return out;
}

void expect_same_bits(const Grid& a, const Grid& b, std::int64_t but_row = -1) {
  for (std::int64_t t = 0; t < a.row_count(); ++t)
    for (std::int64_t i = 0; i < a.dim(); ++i) {
      const float x = a.at(t, i), y = b.at(t, i);
      ASSERT_TRUE(t == but_row || std::memcmp(&x, &y, sizeof x) == 0) << "token " << t << ", value " << i << ": " << x << " and " << y;
    }
}

// One layer and number of tokens per path; k choices each.
struct Case {
  DType dtype;
  std::int64_t tokens;
  MoeMode mode;
  Path path;
};
constexpr Case kCases[] = {{DType::kF32, 3, MoeMode::kGrouped, Path::kPairs},     {DType::kQ6_K, 3, MoeMode::kGrouped, Path::kMatvec},
                           {DType::kBF16, 35, MoeMode::kGrouped, Path::kTiles},   {DType::kQ6_K, 35, MoeMode::kGrouped, Path::kTiles},
                           {DType::kQ4_0, 35, MoeMode::kGrouped, Path::kTiles},   {DType::kQ8_0, 35, MoeMode::kPerToken, Path::kMatvec}};

TEST(CudaExperts, EveryPathMeetsTheReferenceWithNoOneAndAllTokens) {
  Random random(1);
  for (const Case& one : kCases) {
    SCOPED_TRACE(name(one.dtype));
    const Layer layer(one.dtype, 6, 256, 256, random);
    const Grid x = Grid(one.tokens, 256, 3).fill(random);
    const Routing routing = uneven(one.tokens);
    const MoeExperts moe = experts_of(layer, x, routing, one.mode);
    EXPECT_EQ(moe::path_of(moe), one.path);
    std::map<std::string, std::string, std::less<>> paths;
    EXPECT_LE(testing::relative_error(run(moe, &paths), reference(moe)), one.dtype == DType::kF32 ? 1e-5 : 3e-2);
    EXPECT_EQ(paths.at("moe"), one.mode == MoeMode::kGrouped ? "grouped" : "per-token");
    EXPECT_EQ(paths.at("moe.activation"), one.path == Path::kPairs ? "apart" : "in gate_up");
    EXPECT_EQ(paths.at(std::string("matmul.") + name(one.dtype)), one.path == Path::kPairs ? "fma-f32" : one.path == Path::kMatvec ? "matvec-mma-bf16" : "gemm-mma-bf16");
  }
}

TEST(CudaExperts, ATokensSumDoesNotDependOnTheOrderOfItsChoices) {
  Random random(2);
  for (const Case& one : kCases) {
    SCOPED_TRACE(name(one.dtype));
    const Layer layer(one.dtype, 6, 256, 256, random);
    const Grid x = Grid(one.tokens, 256).fill(random);
    Routing given, turned;
    for (std::int64_t t = 0; t < one.tokens; ++t) {
      given.ids.insert(given.ids.end(), {5, 0, 3}), turned.ids.insert(turned.ids.end(), {3, 5, 0});
      given.weights.insert(given.weights.end(), {0.5f, 0.25f, 0.125f}), turned.weights.insert(turned.weights.end(), {0.125f, 0.5f, 0.25f});
    }
    expect_same_bits(run(experts_of(layer, x, given, one.mode)), run(experts_of(layer, x, turned, one.mode)));
  }
}

TEST(CudaExperts, IdsThatAreNoExpertAddNothing) {
  Random random(3);
  for (const Case& one : kCases) {
    SCOPED_TRACE(name(one.dtype));
    const Layer layer(one.dtype, 6, 256, 256, random);
    const Grid x = Grid(one.tokens, 256).fill(random);
    Routing wrong = uneven(one.tokens), without = wrong;
    for (std::size_t i = 0; i < wrong.ids.size(); i += 3) wrong.ids[i] = i % 2 == 0 ? -1 : 6, without.weights[i] = 0;
    EXPECT_LE(testing::relative_error(run(experts_of(layer, x, wrong, one.mode)), reference(experts_of(layer, x, without, one.mode))),
              one.dtype == DType::kF32 ? 1e-5 : 3e-2);
  }
}

// Tokens share tiles, and rows of a tile that no token has hold what was there before.
TEST(CudaExperts, ATokenThatIsNotANumberLeavesTheOthersAsTheyAre) {
  Random random(4);
  for (const Case& one : kCases) {
    SCOPED_TRACE(name(one.dtype));
    const Layer layer(one.dtype, 6, 256, 256, random);
    Grid x = Grid(one.tokens, 256).fill(random);
    const Routing routing = uneven(one.tokens);
    const Grid clean = run(experts_of(layer, x, routing, one.mode));
    for (std::int64_t i = 0; i < 256; ++i) x.at(1, i) = std::numeric_limits<float>::quiet_NaN();
    const Grid found = run(experts_of(layer, x, routing, one.mode));
    expect_same_bits(found, clean, 1);
    EXPECT_TRUE(std::isnan(found.at(1, 0)));
  }
}

TEST(CudaExperts, MixedTypesAndARepeatedExpert) {
  Random random(5);
  const Layer layer(DType::kF32, 6, 64, 64, random);
  const Matrix up = Matrix(DType::kBF16, 6, 64, 64).fill(random, 0.06f);
  const Grid x = Grid(2, 64).fill(random);
  const Routing routing{{3, 3, 4, 0}, {0.25f, 0.5f, 1.0f, -1.0f}};
  MoeExperts moe = experts_of(layer, x, routing, MoeMode::kGrouped);
  moe.up = up;
  EXPECT_EQ(moe::path_of(moe), Path::kPairs);
  EXPECT_LE(testing::relative_error(run(moe), reference(moe)), 1e-5);
}

TEST(CudaExperts, NarrowToNothingGivesZeros) {
  Random random(6);
  const Layer layer(DType::kF32, 6, 0, 64, random);
  const Grid x = Grid(3, 64).fill(random);
  const Routing routing = uneven(3);
  const MoeExperts moe = experts_of(layer, x, routing, MoeMode::kGrouped);
  EXPECT_EQ(moe::path_of(moe), Path::kNothing);
  const Grid out = run(moe);
  for (std::int64_t t = 0; t < 3; ++t)
    for (std::int64_t i = 0; i < 64; ++i) EXPECT_EQ(out.at(t, i), 0.0f);
}

TEST(CudaExperts, FewPairsAreNotSorted) {
  const auto path = [](std::int64_t tokens, std::size_t k, MoeMode mode) {
    static std::byte nothing[16];
    const Tensor up{nothing, DType::kQ6_K, {256, 512, 2048}}, down{nothing, DType::kQ6_K, {256, 2048, 512}};
    const std::vector<std::int32_t> ids(static_cast<std::size_t>(tokens) * k);
    return moe::path_of({{nullptr, tokens, 2048}, ids, {}, up, up, down, mode});
  };
  EXPECT_EQ(path(1, 8, MoeMode::kGrouped), Path::kMatvec);
  EXPECT_EQ(path(8, 8, MoeMode::kGrouped), Path::kMatvec);
  EXPECT_EQ(path(9, 8, MoeMode::kGrouped), Path::kTiles);
  EXPECT_EQ(path(4096, 8, MoeMode::kPerToken), Path::kMatvec);
  EXPECT_EQ(path(4, 200, MoeMode::kPerToken), Path::kTiles);  // the sums of so many choices have no room
  EXPECT_EQ(path(0, 8, MoeMode::kGrouped), Path::kNothing);
}

}  // namespace
}  // namespace crossover::cuda
