// Products by cuBLASLt against the reference: on a GPU the real library where it is found, on the emulated device a fake one.
#include "kernels/cuda/cublaslt.h"

#include <gtest/gtest.h>

#include "kernels/cuda/runtime.h"
#include "kernels/tests/op_cases.h"

namespace crossover::testing {
namespace {

// All products that our gemm would do are the library's, but for those that the real one may refuse: of odd strides, of addresses that are not aligned.
cuda::CublasLt::Options all_products() {
  cuda::CublasLt::Options options{.fewest_tokens = 9, .fewest_sums = 0};
#ifdef CROSSOVER_CUDA_EMULATED
  options.libraries = {CROSSOVER_FAKE_CUBLASLT}, options.must = true;
#endif
  return options;
}

const Ops& waiting_products() {
  static const Ops kOps = [] {
    Ops ops = cuda_ops();
    ops.host_memory = true;
    ops.matmul = [](Context& ctx, ConstRows x, const Tensor& weight, Rows out) { cuda_ops().matmul(ctx, x, weight, out), cuda_ops().synchronize(ctx); };
    ops.matmuls = [](Context& ctx, ConstRows x, std::span<const Projection> projections) { cuda_ops().matmuls(ctx, x, projections), cuda_ops().synchronize(ctx); };
    return ops;
  }();
  return kOps;
}

class CudaLibraryProducts : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    std::string why;
    if (cuda::device_count(&why) == 0) GTEST_SKIP() << why;
    device.emplace(0);
    try {
      library.emplace(all_products());
    } catch (const std::runtime_error& error) {
      GTEST_SKIP() << "not run: " << error.what();
    }
  }
  std::optional<cuda::Device> device;
  std::optional<cuda::CublasLt> library;
};

TEST_P(CudaLibraryProducts, EqualReference) {
  TestContext tested({waiting_products, std::nullopt, 1}), reference(reference_backend());
  tested.context.device = &*device, tested.context.cublaslt = &*library;
  for (const OpCase& op_case : cases_of(GetParam())) {
    if (!op_case.what.starts_with("bf16")) continue;  // what else there is, is not its work
    const Result expected = op_case.run(reference), found = op_case.run(tested);
    EXPECT_LE(error_of(op_case, found, expected), op_case.tolerance_on(tested)) << op_case.what;
    EXPECT_TRUE(same_bits(found, op_case.run(tested))) << op_case.what << ": a second run gives other bits";
  }
  EXPECT_GT(library->shapes(), 10u);
  EXPECT_NE(tested.counters.paths.at("matmul.bf16").find("gemm-cublaslt"), std::string::npos) << tested.counters.paths.at("matmul.bf16");
}

std::string op_name(const ::testing::TestParamInfo<const char*>& parameter) { return parameter.param; }
INSTANTIATE_TEST_SUITE_P(Ops, CudaLibraryProducts, ::testing::Values("matmul", "matmuls"), op_name);

}  // namespace
}  // namespace crossover::testing
