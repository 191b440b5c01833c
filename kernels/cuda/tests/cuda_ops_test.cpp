// The operation suite on the cuda backend. Built twice: for the emulated device, where every kernel's arithmetic, tiles, tails and barriers
// are tested on any machine, and for a GPU, where operands lie in host memory that the device reads too (gpu/pinned_memory.cpp).
#include <gtest/gtest.h>

#include "kernels/cuda/runtime.h"
#include "kernels/tests/op_cases.h"
#ifdef CROSSOVER_CUDA_EMULATED
#include "kernels/cuda/device.h"
#endif

namespace crossover::testing {
namespace {

// An operation that is done when it returns, because its case looks at the results then.
template <auto kMember>
struct Waiting;
template <class... A, void (*Ops::*kMember)(Context&, A...)>
struct Waiting<kMember> {
  static void call(Context& ctx, A... arguments) {
    (cuda_ops().*kMember)(ctx, arguments...);
    cuda_ops().synchronize(ctx);
  }
};

const Ops& waiting_ops() {
  static const Ops kOps = [] {
    Ops ops = cuda_ops();
    ops.host_memory = true;
    ops.embed = Waiting<&Ops::embed>::call, ops.rms_norm = Waiting<&Ops::rms_norm>::call, ops.add_rms_norm = Waiting<&Ops::add_rms_norm>::call;
    ops.l2_norm = Waiting<&Ops::l2_norm>::call, ops.matmul = Waiting<&Ops::matmul>::call, ops.matmuls = Waiting<&Ops::matmuls>::call;
    ops.add = Waiting<&Ops::add>::call, ops.add_gated = Waiting<&Ops::add_gated>::call, ops.swiglu = Waiting<&Ops::swiglu>::call;
    ops.sigmoid_gate = Waiting<&Ops::sigmoid_gate>::call, ops.conv1d_silu = Waiting<&Ops::conv1d_silu>::call, ops.gdn_gates = Waiting<&Ops::gdn_gates>::call;
    ops.gdn_recurrent = Waiting<&Ops::gdn_recurrent>::call, ops.gdn_chunked = Waiting<&Ops::gdn_chunked>::call, ops.gdn_mixer = Waiting<&Ops::gdn_mixer>::call;
    ops.gated_rms_norm = Waiting<&Ops::gated_rms_norm>::call, ops.rope_angles = Waiting<&Ops::rope_angles>::call, ops.norm_rope = Waiting<&Ops::norm_rope>::call;
    ops.rotate = Waiting<&Ops::rotate>::call, ops.kv_write = Waiting<&Ops::kv_write>::call, ops.attention = Waiting<&Ops::attention>::call;
    ops.moe_route = Waiting<&Ops::moe_route>::call, ops.moe_experts = Waiting<&Ops::moe_experts>::call;
    return ops;
  }();
  return kOps;
}

void order_threads(std::uint64_t seed) {
#ifdef CROSSOVER_CUDA_EMULATED
  cuda::emulated::set_seed(seed);
#else
  (void)seed;  // a GPU has its own
#endif
}

class CudaOps : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    std::string why;
    if (cuda::device_count(&why) == 0) GTEST_SKIP() << why;
  }
};

TEST_P(CudaOps, EqualReference) {
  const std::vector<OpCase> cases = cases_of(GetParam());
  ASSERT_FALSE(cases.empty());
  TestContext tested({waiting_ops, std::nullopt, 1}), again({waiting_ops, std::nullopt, 1}), reference(reference_backend());
  cuda::Device device(0);
  tested.context.device = again.context.device = &device;
  for (const OpCase& op_case : cases) {
    const Result expected = op_case.run(reference);
    order_threads(1);
    const Result found = op_case.run(tested);
    EXPECT_LE(error_of(op_case, found, expected), op_case.tolerance_on(tested)) << op_case.what;
    order_threads(2);
    EXPECT_TRUE(same_bits(found, op_case.run(again))) << op_case.what << ": a second run, its threads in another order, gives other bits";
  }
  EXPECT_GT(device.launches(), 0);
  EXPECT_EQ(tested.counters.counts, reference.counters.counts);
}

std::string op_name(const ::testing::TestParamInfo<const char*>& parameter) { return parameter.param; }

INSTANTIATE_TEST_SUITE_P(Ops, CudaOps, ::testing::ValuesIn(kOpNames), op_name);

}  // namespace
}  // namespace crossover::testing
