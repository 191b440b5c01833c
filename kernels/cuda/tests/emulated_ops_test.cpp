// The operation suite on the emulated device: every kernel's arithmetic, tiles, tails and barriers, without a GPU.
#include <gtest/gtest.h>

#include "kernels/cuda/device.h"
#include "kernels/cuda/runtime.h"
#include "kernels/tests/op_cases.h"

namespace crossover::testing {
namespace {

// Emulated memory is the host's.
const Ops& emulated_ops() {
  static const Ops kOps = [] {
    Ops ops = cuda_ops();
    ops.host_memory = true;
    return ops;
  }();
  return kOps;
}

class CudaOps : public ::testing::TestWithParam<const char*> {};

TEST_P(CudaOps, EqualReference) {
  const std::vector<OpCase> cases = cases_of(GetParam());
  ASSERT_FALSE(cases.empty());
  TestContext tested({emulated_ops, std::nullopt, 1}), reference(reference_backend());
  cuda::Device device(0);
  tested.context.device = &device;
  for (const OpCase& op_case : cases) {
    const Result expected = op_case.run(reference);
    cuda::emulated::set_seed(1);
    const Result found = op_case.run(tested);
    EXPECT_LE(error_of(op_case, found, expected), op_case.tolerance_on(tested)) << op_case.what;
    cuda::emulated::set_seed(2);
    EXPECT_TRUE(same_bits(found, op_case.run(tested))) << op_case.what << ": another order of threads gives other bits";
  }
  EXPECT_GT(device.launches(), 0);
}

std::string op_name(const ::testing::TestParamInfo<const char*>& parameter) { return parameter.param; }

INSTANTIATE_TEST_SUITE_P(Emulated, CudaOps, ::testing::ValuesIn(kOpNames), op_name);

}  // namespace
}  // namespace crossover::testing
