// The operation suite on the cuda backend. Built twice: for the emulated device, where every kernel's arithmetic, tiles, tails and barriers
// are tested on any machine, and for a GPU, where operands lie in host memory that the device reads too (gpu/pinned_memory.cpp).
#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <string>

#include "kernels/cuda/runtime.h"
#include "kernels/tests/op_cases.h"
#ifdef CROSSOVER_CUDA_EMULATED
#include "kernels/cuda/device.h"
#include "kernels/cuda/emulator/machine.h"
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

// only: of these, those that take a path that begins so. How many were compared, by what took which path.
std::map<std::string, int> expect_reference(cuda::Device& device, const std::vector<OpCase>& cases, const std::string& only = "") {
  EXPECT_FALSE(cases.empty());
  std::map<std::string, int> paths;
  TestContext tested({waiting_ops, std::nullopt, 1}), again({waiting_ops, std::nullopt, 1}), reference(reference_backend());
  tested.context.device = again.context.device = &device;
  for (const OpCase& op_case : cases) {
    order_threads(1);
    tested.counters.paths.clear();
    const Result found = op_case.run(tested);
    bool taken = only.empty();
    for (const auto& [what, path] : tested.counters.paths)
      if (path.starts_with(only)) taken = true, ++paths[what + " " + path];
    if (!taken) continue;
    const Result expected = op_case.run(reference);
    EXPECT_LE(error_of(op_case, found, expected), op_case.tolerance_on(tested)) << op_case.what;
    order_threads(2);
    EXPECT_TRUE(same_bits(found, op_case.run(again))) << op_case.what << ": a second run, its threads in another order, gives other bits";
  }
  EXPECT_GT(device.launches(), 0);
  if (only.empty()) {
    EXPECT_EQ(tested.counters.counts, reference.counters.counts);
  }
  return paths;
}

// Of every operation at most so many cases, evenly taken: for tools under which a kernel runs a hundred times slower (tools/gpu_check.sh).
std::vector<OpCase> few_cases_of(const std::string& op) {
  constexpr std::size_t kFew = 12;
  const std::vector<OpCase> all = cases_of(op);
  const std::size_t step = (all.size() + kFew - 1) / kFew;
  std::vector<OpCase> few;
  for (std::size_t i = step / 2; i < all.size(); i += step) few.push_back(all[i]);
  return few;
}

TEST_P(CudaOps, AFewEqualReference) {
  TestContext tested({waiting_ops, std::nullopt, 1}), reference(reference_backend());
  cuda::Device device(0);
  tested.context.device = &device;
  const std::vector<OpCase> cases = few_cases_of(GetParam());
  EXPECT_GE(cases.size(), 4u);
  for (const OpCase& op_case : cases) EXPECT_LE(error_of(op_case, op_case.run(tested), op_case.run(reference)), op_case.tolerance_on(tested)) << op_case.what;
}

TEST_P(CudaOps, EqualReference) {
  cuda::Device device(0);
  (void)expect_reference(device, cases_of(GetParam()));
}

std::string op_name(const ::testing::TestParamInfo<const char*>& parameter) { return parameter.param; }

INSTANTIATE_TEST_SUITE_P(Ops, CudaOps, ::testing::ValuesIn(kOpNames), op_name);

// What a device does by warpgroups when it is asked to; on a GPU only where it is a Hopper.
class CudaWarpgroups : public ::testing::Test {
 protected:
#ifdef CROSSOVER_CUDA_EMULATED
  CudaWarpgroups() { cuda::emulated::set_compute_capability(90); }
  ~CudaWarpgroups() override { cuda::emulated::set_compute_capability(80); }
#endif
  void SetUp() override {
    std::string why;
    if (cuda::device_count(&why) == 0) GTEST_SKIP() << why;
    device.emplace(0);
    if (device->facts().compute_capability != 90) GTEST_SKIP() << device->facts().name << " is not of compute capability 9.0";
    device->use_warpgroups();
  }
  std::optional<cuda::Device> device;
};

TEST_F(CudaWarpgroups, AttentionEqualsReference) {
  std::vector<OpCase> cases = cases_of("attention");
  std::erase_if(cases, [](const OpCase& one) { return one.bf16_tolerance == 0; });  // f32 caches
  const std::map<std::string, int> paths = expect_reference(*device, cases, "wgmma");
  EXPECT_GE(paths.at("attention wgmma-f16-tile"), 20);
  EXPECT_GE(paths.at("attention wgmma-bf16-tile"), 4);
}

TEST_F(CudaWarpgroups, ProductsEqualReference) {
  const auto paths_of = [&](const std::string& op) {
    std::vector<OpCase> cases = cases_of(op);
    std::erase_if(cases, [](const OpCase& one) {  // too few tokens
      return one.what.find(" 65 tokens") == std::string::npos && one.what.find(" 130 tokens") == std::string::npos;
    });
    return expect_reference(*device, cases, "gemm-wgmma");
  };
  const std::map<std::string, int> one = paths_of("matmul"), several = paths_of("matmuls");
  for (const char* const type : {"f16", "bf16", "q8_0", "q6_k", "q4_0", "q4_1", "q5_0", "q5_1"}) {
    const std::string path = std::string("matmul.") + type + " gemm-wgmma-bf16";
    EXPECT_EQ(one.at(path), 2) << "65 and 130 tokens";
    EXPECT_GE(several.at(path), 6);
  }
}

}  // namespace
}  // namespace crossover::testing
