// Greedy tokens of a GPU against the CPU's, from the same weights: equal, but for near ties (greedy.h). Built for a real GPU and for the emulated one.
#include <gtest/gtest.h>

#include <iostream>

#include "engine/tests/greedy.h"
#include "engine/tests/reference_model.h"
#include "kernels/cuda/runtime.h"

namespace crossover::test {
namespace {

#ifdef CROSSOVER_CUDA_EMULATED
constexpr bool kEmulated = true;
#else
constexpr bool kEmulated = false;
#endif

// Of the weights, and the backend that tokens are held against: the reference multiplies blocks without rounding activations.
struct Against {
  DType weights;
  const char* backend;
  double tie, nmse;
  bool emulated;  // asked there too, where f32 products take long
};
void PrintTo(const Against& against, std::ostream* out) { *out << name(against.weights) << " against " << against.backend; }

class CudaGreedy : public testing::TestWithParam<Against> {
 protected:
  void SetUp() override {
    std::string why;
    if (cuda::device_count(&why) == 0) GTEST_SKIP() << why;
    if (kEmulated && !GetParam().emulated) GTEST_SKIP() << "asked on a GPU";
  }

  static EngineOptions options(const ReferenceModel& model, const char* backend, std::size_t tokens) {
    EngineOptions options = options_for(model);
    options.backend = backend, options.weights = GetParam().weights, options.rehearses = false;
    options.keys = options.values = DType::kF16;
    options.capacity_tokens = static_cast<std::int64_t>(model.prompt.size() + tokens);
    options.knobs.set("CROSSOVER_GDN_PREFILL", "auto", "test");
    return options;
  }
};

TEST_P(CudaGreedy, TokensAreEqualButForNearTies) {
  const Against& against = GetParam();
  const std::size_t tokens = kEmulated ? 5 : 128;
  std::size_t compared = 0;
  for (const ReferenceModel& model : reference_models()) {
    if (kEmulated && model.name != "synth-next-r2-fused" && model.name != "synth-dense-r3") continue;  // some thousand times slower
    std::vector<std::int32_t> prompt = model.prompt;
    if (kEmulated) prompt.resize(12);
    Engine host(options(model, against.backend, tokens)), gpu(options(model, "cuda", tokens));
    const GreedyComparison found = compare_greedy(host, gpu, prompt, tokens);
    EXPECT_EQ(found.tokens, tokens);
    EXPECT_LE(found.widest_gap, against.tie) << model.name << ": token " << found.first.value_or(0) << " differs, and it is no near tie";
    EXPECT_LE(found.median_nmse, against.nmse) << model.name;
    compared += found.tokens;
    std::cout << "greedy " << model.name << ' ' << name(against.weights) << " against " << against.backend << ": " << found.differ << " of " << found.tokens
              << " tokens differ, widest gap " << found.widest_gap << " of the largest logit (" << against.tie << " allowed), nmse " << found.median_nmse << '\n';
  }
  EXPECT_GT(compared, 0u);
}

std::string against_name(const testing::TestParamInfo<Against>& info) { return std::string(name(info.param.weights)) + "_" + info.param.backend; }
INSTANTIATE_TEST_SUITE_P(Weights, CudaGreedy,
                         testing::Values(Against{DType::kF32, "cpu", kGreedyTie, 5e-4, false}, Against{DType::kBF16, "cpu", kGreedyTie, 5e-4, true},
                                         Against{DType::kQ8_0, "reference", kGreedyTie, 5e-4, false}, Against{DType::kQ6_K, "reference", kGreedyTie, 5e-4, true},
                                         Against{DType::kQ6_K, "cpu", kGreedyTieOfInt8, 2e-3, true}),
                         against_name);

}  // namespace
}  // namespace crossover::test
