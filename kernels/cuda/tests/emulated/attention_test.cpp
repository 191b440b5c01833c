// What an attention did, by its counters and launches; its values are in the suite.
#include <gtest/gtest.h>

#include "kernels/cuda/emulator/machine.h"
#include "kernels/cuda/runtime.h"
#include "kernels/tests/test_context.h"

namespace crossover::testing {
namespace {

const Ops& ops() {
  static const Ops kOps = [] {
    Ops all = cuda_ops();
    all.host_memory = true;
    return all;
  }();
  return kOps;
}

struct Ran {
  std::string path;
  std::int64_t launches;
};

Ran run(DType keys, DType values, std::int64_t tokens, std::int64_t past, std::int64_t dim = 256, bool warpgroups = false) {
  constexpr std::int64_t kHeads = 8;
  Random random(7);
  TestContext context({ops, std::nullopt, 1});
  cuda::emulated::set_compute_capability(warpgroups ? 90 : 80);
  cuda::Device device(0);
  cuda::emulated::set_compute_capability(80);
  if (warpgroups) device.use_warpgroups();
  context.context.device = &device;
  const Grid q = Grid(tokens * kHeads, dim).fill(random);
  const Matrix k = Matrix(keys, past + tokens, dim).fill(random), v = Matrix(values, past + tokens, dim).fill(random);
  Grid out(tokens * kHeads, dim);
  op::attention(context, {.q = q, .keys = k.tensor(), .values = v.tensor(), .past = past, .heads = kHeads, .kv_heads = 1}, out);
  return {context.counters.paths.at("attention"), device.launches()};
}

TEST(CudaAttention, NamesTheArithmeticAndTheKernel) {
  EXPECT_EQ(run(DType::kF16, DType::kQ8_0, 1, 20).path, "mma-f16-split");
  EXPECT_EQ(run(DType::kF16, DType::kBF16, 1, 20).path, "mma-bf16-split");
  EXPECT_EQ(run(DType::kF16, DType::kF16, 9, 20).path, "mma-f16-tile");
  EXPECT_EQ(run(DType::kBF16, DType::kQ4_0, 9, 20).path, "mma-bf16-tile");
  EXPECT_EQ(run(DType::kF32, DType::kF16, 1, 20).path, "fma-f32");
  EXPECT_EQ(run(DType::kF16, DType::kF16, 1, 20, 128).path, "fma-f32");
}

TEST(CudaAttention, LaunchesNoMoreThanItNeeds) {
  EXPECT_EQ(run(DType::kQ8_0, DType::kQ8_0, 1, 20).launches, 1);
  EXPECT_EQ(run(DType::kQ8_0, DType::kQ8_0, 1, 200).launches, 2) << "splits are joined";
  EXPECT_EQ(run(DType::kF16, DType::kF16, 9, 20).launches, 1);
  EXPECT_EQ(run(DType::kQ8_0, DType::kF16, 9, 20).launches, 2) << "keys are copied as halves";
  EXPECT_EQ(run(DType::kQ8_0, DType::kF16, 8, 20).launches, 1) << "keys are read in place";
}

TEST(CudaAttention, TakesWarpgroupsForManyTokensWhereAsked) {
  const auto path = [](DType keys, DType values, std::int64_t tokens, std::int64_t dim = 256) { return run(keys, values, tokens, 20, dim, true).path; };
  EXPECT_EQ(path(DType::kF16, DType::kF16, 9), "wgmma-f16-tile");
  EXPECT_EQ(path(DType::kBF16, DType::kQ4_0, 9), "wgmma-bf16-tile");
  EXPECT_EQ(path(DType::kF16, DType::kF16, 8), "mma-f16-tile") << "half a tile of rows";
  EXPECT_EQ(path(DType::kF16, DType::kF16, 1), "mma-f16-split");
  EXPECT_EQ(path(DType::kF32, DType::kF16, 9), "fma-f32");
  EXPECT_EQ(path(DType::kF16, DType::kF16, 9, 128), "fma-f32");
  EXPECT_EQ(run(DType::kF16, DType::kF16, 9, 20, 256, true).launches, 1);
  EXPECT_EQ(run(DType::kQ8_0, DType::kF16, 9, 20, 256, true).launches, 2) << "keys are copied as halves";
}

TEST(CudaAttention, WarpgroupsAreAnErrorWhereTheGpuHasNone) {
  cuda::Device device(0);
  try {
    device.use_warpgroups();
    FAIL() << "compute capability 8.0";
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "products by warpgroups were asked for, which need compute capability 9.0; emulated has 8.0; set CROSSOVER_CUDA_PRODUCTS to auto");
  }
  EXPECT_FALSE(device.uses_warpgroups());
}

TEST(CudaAttention, RefusesHeadsThatNoWarpHolds) { EXPECT_THROW(run(DType::kF16, DType::kF16, 1, 20, 512), std::invalid_argument); }

}  // namespace
}  // namespace crossover::testing
