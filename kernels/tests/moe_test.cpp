// Routing and experts of the cpu backend against the reference.
#include "kernels/cpu/cpu_ops.h"
#include "kernels/tests/moe_inputs.h"
#include "kernels/tests/test_context.h"
#include "kernels/trace.h"

namespace crossover {
namespace {

using testing::Backend;
using testing::Grid;
using testing::Matrix;
using testing::Random;
using testing::Layer;
using testing::Routing;
using testing::TestContext;
using testing::uneven;

class MoeTest : public ::testing::TestWithParam<Backend> {};

// `tolerance` is relative to the largest value; where products with bf16 weights round activations to bf16 as well, it is 1e-2.
void check_experts(const Backend& backend, const Layer& layer, const Routing& routing, std::int64_t tokens, double tolerance) {
  Random random(static_cast<std::uint64_t>(tokens));
  const std::int64_t hidden = layer.gate.tensor().cols();
  Grid x(tokens, hidden, 2), out(tokens, hidden, 2), expected(tokens, hidden);
  x.fill(random);
  const MoeExperts moe{x, routing.ids, routing.weights, layer.gate, layer.up, layer.down};
  TestContext context(backend), reference(testing::reference_backend());
  cpu::moe_experts(context, moe, out);
  reference_ops().moe_experts(reference, moe, expected);
  out.expect_gaps_untouched();
  const auto path = context.counters.paths.find("matmul.bf16");
  const bool rounded = path != context.counters.paths.end() && std::string(path->second).find("bf16") != std::string::npos;
  EXPECT_LE(testing::relative_error(out, expected), rounded ? 1e-2 : tolerance);
}

TEST_P(MoeTest, ExpertsWithNoOneAndAllTokens) {
  Random random(1);
  for (const auto& [dtype, tolerance] : {std::pair(DType::kF32, 2e-6), std::pair(DType::kBF16, 2e-6), std::pair(DType::kQ6_K, 3e-2), std::pair(DType::kQ8_0, 3e-2)}) {
    const Layer layer(dtype, 6, 256, 512, random);
    for (const std::int64_t tokens : {1, 2, 5, 33, 100}) {
      SCOPED_TRACE(std::string(name(dtype)) + " tokens " + std::to_string(tokens));
      check_experts(GetParam(), layer, uneven(tokens), tokens, tolerance);
    }
  }
}

TEST_P(MoeTest, MixedTypesAndRepeatedExpert) {
  Random random(2);
  Layer layer(DType::kF32, 6, 256, 256, random);
  const Matrix up = Matrix(DType::kBF16, 6, 256, 256).fill(random, 0.06f);
  Grid x(2, 256), out(2, 256), expected(2, 256);
  x.fill(random);
  const std::vector<std::int32_t> ids = {3, 3, 4, 0};
  const std::vector<float> weights = {0.25f, 0.5f, 1.0f, -1.0f};
  const MoeExperts moe{x, ids, weights, layer.gate, up, layer.down};
  TestContext context(GetParam()), reference(testing::reference_backend());
  cpu::moe_experts(context, moe, out);
  reference_ops().moe_experts(reference, moe, expected);
  EXPECT_LE(testing::relative_error(out, expected), 2e-6);
}

TEST_P(MoeTest, NarrowToNothingGivesZeros) {
  Random random(3);
  const Layer layer(DType::kF32, 6, 0, 64, random);
  const Routing routing = uneven(3);
  Grid x(3, 64), out(3, 64);
  x.fill(random);
  TestContext context(GetParam());
  cpu::moe_experts(context, {x, routing.ids, routing.weights, layer.gate, layer.up, layer.down}, out);
  for (std::int64_t t = 0; t < 3; ++t)
    for (std::int64_t i = 0; i < 64; ++i) EXPECT_EQ(out.at(t, i), 0.0f);
}

TEST_P(MoeTest, RefusesAnUnknownExpert) {
  Random random(4);
  const Layer layer(DType::kF32, 2, 32, 32, random);
  Grid x(1, 32), out(1, 32);
  x.fill(random);
  const std::vector<float> weights = {1.0f};
  for (const std::int32_t id : {-1, 2}) {
    const std::vector<std::int32_t> ids = {id};
    TestContext context(GetParam());
    EXPECT_THROW(cpu::moe_experts(context, {x, ids, weights, layer.gate, layer.up, layer.down}, out), std::invalid_argument);
  }
}

TEST_P(MoeTest, ThreadsDoNotChangeBits) {
  Random random(5);
  for (const DType dtype : {DType::kF32, DType::kQ6_K}) {
    const Layer layer(dtype, 6, 256, 512, random);
    for (const std::int64_t tokens : {1, 70}) {
      Grid x(tokens, 512), one(tokens, 512), many(tokens, 512);
      x.fill(random);
      const Routing routing = uneven(tokens);
      const MoeExperts moe{x, routing.ids, routing.weights, layer.gate, layer.up, layer.down};
      TestContext single({reference_ops, GetParam().isa, 1}), context({reference_ops, GetParam().isa, 3});
      cpu::moe_experts(single, moe, one);
      cpu::moe_experts(context, moe, many);
      for (std::int64_t t = 0; t < tokens; ++t)
        for (std::int64_t i = 0; i < 512; ++i) ASSERT_EQ(one.at(t, i), many.at(t, i));
    }
  }
}

TEST_P(MoeTest, RecordsItsPhases) {
  Random random(6);
  const Layer layer(DType::kF32, 6, 32, 32, random);
  const Routing routing = uneven(2);
  Grid x(2, 32), out(2, 32);
  x.fill(random);
  TestContext context(GetParam());
  Trace trace;
  context.context.trace = &trace;
  const auto phases = [&](const Tensor& up, MoeMode mode) {
    trace.clear();
    cpu::moe_experts(context, {x, routing.ids, routing.weights, layer.gate, up, layer.down, mode}, out);
    std::vector<std::string> names;
    for (const Span& span : trace.spans()) names.push_back(span.name);
    return names;
  };
  using Names = std::vector<std::string>;
  EXPECT_EQ(phases(layer.up, MoeMode::kGrouped), (Names{"moe.bucket", "moe.gate_up", "moe.down", "moe.combine"}));
  EXPECT_EQ(context.counters.paths.at("moe"), "grouped");
  EXPECT_EQ(context.counters.paths.at("moe.activation"), "in gate_up");
  const Matrix other = Matrix(DType::kBF16, 6, 32, 32).fill(random, 0.06f);  // an up of another type is multiplied apart
  EXPECT_EQ(phases(other, MoeMode::kGrouped), (Names{"moe.bucket", "moe.gate_up", "moe.activation", "moe.down", "moe.combine"}));
  EXPECT_EQ(context.counters.paths.at("moe.activation"), "in gate_up+apart");
  EXPECT_EQ(phases(layer.up, MoeMode::kPerToken).size(), 2u * 4u);
  EXPECT_EQ(context.counters.paths.at("moe"), "grouped+per-token");
}

TEST_P(MoeTest, PerTokenGivesTheSameSums) {
  Random random(8);
  for (const auto& [dtype, tolerance] : {std::pair(DType::kF32, 2e-6), std::pair(DType::kQ6_K, 3e-2)}) {
    const Layer layer(dtype, 6, 256, 512, random);
    for (const std::int64_t tokens : {1, 3, 100}) {
      Grid x(tokens, 512), out(tokens, 512), expected(tokens, 512);
      x.fill(random);
      const Routing routing = uneven(tokens);
      MoeExperts moe{x, routing.ids, routing.weights, layer.gate, layer.up, layer.down, MoeMode::kPerToken};
      TestContext context(GetParam());
      cpu::moe_experts(context, moe, out);
      moe.mode = MoeMode::kGrouped;
      cpu::moe_experts(context, moe, expected);
      EXPECT_LE(testing::relative_error(out, expected), tolerance) << name(dtype) << " tokens " << tokens;
    }
  }
}

TEST_P(MoeTest, ATokensSumDoesNotDependOnTheOrderOfItsChoices) {
  Random random(9);
  const Layer layer(DType::kF32, 6, 64, 64, random);
  Grid x(2, 64), one(2, 64), other(2, 64);
  x.fill(random);
  const std::vector<std::int32_t> ids = {5, 0, 3, 2, 4, 1}, turned = {3, 5, 0, 1, 2, 4};
  const std::vector<float> weights = {0.5f, 0.25f, 0.125f, 0.3f, 0.2f, 0.1f}, turned_weights = {0.125f, 0.5f, 0.25f, 0.1f, 0.3f, 0.2f};
  TestContext context(GetParam());
  cpu::moe_experts(context, {x, ids, weights, layer.gate, layer.up, layer.down}, one);
  cpu::moe_experts(context, {x, turned, turned_weights, layer.gate, layer.up, layer.down}, other);
  for (std::int64_t t = 0; t < 2; ++t)
    for (std::int64_t i = 0; i < 64; ++i) EXPECT_EQ(one.at(t, i), other.at(t, i));
}

void check_route(const Backend& backend, const Grid& logits, std::int64_t k, bool normalize) {
  const auto size = static_cast<std::size_t>(logits.row_count() * k);
  std::vector<std::int32_t> ids(size, -1), expected_ids(size, -1);
  std::vector<float> weights(size), expected(size);
  TestContext context(backend), reference(testing::reference_backend());
  cpu::moe_route(context, logits, k, normalize, ids, weights);
  reference_ops().moe_route(reference, logits, k, normalize, expected_ids, expected);
  EXPECT_EQ(ids, expected_ids);
  for (std::size_t i = 0; i < size; ++i) EXPECT_NEAR(weights[i], expected[i], 1e-6f * expected[i]);
}

TEST_P(MoeTest, RoutesLikeTheReference) {
  Random random(7);
  for (const std::int64_t tokens : {1, 3, 50})
    for (const std::int64_t experts : {1, 8, 256})
      for (const std::int64_t k : {std::int64_t{1}, std::min<std::int64_t>(8, experts), experts})
        for (const bool normalize : {false, true}) {
          Grid logits(tokens, experts, 3);
          check_route(GetParam(), logits.fill(random, 3), k, normalize);
          // Few different values: many ties.
          check_route(GetParam(), logits.set([&](std::int64_t, std::int64_t) { return static_cast<float>(random() % 3); }), k, normalize);
        }
}

TEST_P(MoeTest, EqualLogitsTakeTheLowestIds) {
  Grid logits(2, 9);
  logits.set([](std::int64_t, std::int64_t) { return -2.5f; });
  std::vector<std::int32_t> ids(8);
  std::vector<float> weights(8);
  TestContext context(GetParam());
  cpu::moe_route(context, logits, 4, true, ids, weights);
  EXPECT_EQ(ids, (std::vector<std::int32_t>{0, 1, 2, 3, 0, 1, 2, 3}));
  for (const float weight : weights) EXPECT_EQ(weight, 0.25f);
}

INSTANTIATE_TEST_SUITE_P(Isas, MoeTest, ::testing::ValuesIn([] {
                           std::vector<Backend> backends;
                           for (const cpu::Isa isa : cpu::usable_isas())
                             for (const int threads : {1, 2}) backends.push_back({reference_ops, isa, threads});
                           return backends;
                         }()),
                         testing::test_name);

}  // namespace
}  // namespace crossover
