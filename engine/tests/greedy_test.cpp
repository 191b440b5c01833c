// The rule by which a GPU's tokens are held against a CPU's, on two instruction sets of the CPU and on rows that hurt.
#include "engine/tests/greedy.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "engine/tests/reference_model.h"
#include "kernels/cpu/isa.h"

namespace crossover::test {
namespace {

TEST(Greedy, APreferenceIsAPartOfTheLargestLogit) {
  const std::vector<float> row{1, 7, -8, 6.5f};
  EXPECT_EQ(preference(row, 1, 3), 0.0625);
  EXPECT_EQ(preference(row, 3, 1), -0.0625);
  EXPECT_EQ(preference(std::vector<float>{0, 0}, 0, 1), 0);
  EXPECT_EQ(preference(std::vector<float>{1, NAN}, 0, 0), std::numeric_limits<double>::infinity());
}

EngineOptions options(const ReferenceModel& model, const char* isa, DType weights) {
  EngineOptions options = options_for(model);
  options.weights = weights;
  options.knobs.set("CROSSOVER_ISA", isa, "test");
  return options;
}

TEST(Greedy, TwoInstructionSetsAgree) {
  const char* const best = cpu::name(cpu::usable_isas().back());
  for (const ReferenceModel& model : reference_models())
    for (const DType weights : {DType::kF32, DType::kQ6_K}) {
      Engine portable(options(model, "portable", weights)), fast(options(model, best, weights));
      const std::size_t tokens = model.greedy.size();
      const GreedyComparison found = compare_greedy(portable, fast, model.prompt, tokens);
      EXPECT_EQ(found.tokens, tokens);
      EXPECT_LE(found.widest_gap, weights == DType::kQ6_K ? kGreedyTieOfInt8 : kGreedyTie) << model.name << " from token " << found.first.value_or(0) << " on";
      EXPECT_EQ(found.differ > 0, found.first.has_value());
    }
}

// Another model's tokens are no near ties.
TEST(Greedy, OtherWeightsAreTold) {
  const ReferenceModel &model = reference_models().at(0), &other = reference_models().at(1);
  Engine right(options(model, "portable", DType::kF32)), wrong(options(other, "portable", DType::kF32));
  ASSERT_EQ(right.config().vocab, wrong.config().vocab);
  const GreedyComparison found = compare_greedy(right, wrong, std::vector<std::int32_t>(model.prompt.begin(), model.prompt.begin() + 8), 4);
  EXPECT_GT(found.differ, 0u);
  EXPECT_GT(found.widest_gap, kGreedyTieOfInt8);
  EXPECT_GT(found.median_nmse, 0.1);
}

}  // namespace
}  // namespace crossover::test
