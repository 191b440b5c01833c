// One suite: every operation on every backend, instruction set and thread count against the reference; then the same comparisons
// against operations that are wrong on purpose, because a suite that nothing fails proves nothing.
#include <gtest/gtest.h>

#include "kernels/tests/op_cases.h"

namespace crossover::testing {
namespace {

using Parameters = std::tuple<const char*, Backend>;

std::string parameter_name(const ::testing::TestParamInfo<Parameters>& info) {
  return std::string(std::get<0>(info.param)) + "_" + name(std::get<1>(info.param));
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::size_t kEvery = 7;  // sanitizers look at memory and threads, not at values: a part of the inputs does
#else
constexpr std::size_t kEvery = 1;
#endif

std::vector<OpCase> chosen_cases(const std::string& op) {
  std::vector<OpCase> all = cases_of(op), chosen;
  for (std::size_t i = 0; i < all.size(); i += kEvery) chosen.push_back(std::move(all[i]));
  return chosen;
}

class OpSuite : public ::testing::TestWithParam<Parameters> {};

TEST_P(OpSuite, EqualsReference) {
  const auto [op, backend] = GetParam();
  const std::vector<OpCase> cases = chosen_cases(op);
  ASSERT_FALSE(cases.empty());
  TestContext tested(backend), reference(reference_backend());
  for (const OpCase& op_case : cases) {
    const Result expected = op_case.run(reference);
    EXPECT_LE(error_of(op_case, op_case.run(tested), expected), op_case.tolerance_on(tested)) << op_case.what;
  }
  EXPECT_EQ(tested.counters.counts, reference.counters.counts);  // what ran is counted by shape, not by backend
}

INSTANTIATE_TEST_SUITE_P(Ops, OpSuite, ::testing::Combine(::testing::ValuesIn(kOpNames), ::testing::ValuesIn(tested_backends())), parameter_name);

class OpThreads : public ::testing::TestWithParam<const char*> {};

TEST_P(OpThreads, ResultsDoNotDependOnThreadsOrOnTheRun) {
  for (const cpu::Isa isa : cpu::usable_isas()) {
    TestContext one({cpu_ops, isa, 1}), three({cpu_ops, isa, 3});
    for (const OpCase& op_case : chosen_cases(GetParam())) {
      const Result first = op_case.run(three);
      EXPECT_TRUE(same_bits(first, op_case.run(three))) << op_case.what << ": a second run differs, " << cpu::name(isa);
      EXPECT_TRUE(same_bits(first, op_case.run(one))) << op_case.what << ": one thread differs from three, " << cpu::name(isa);
    }
  }
}

std::string op_name(const ::testing::TestParamInfo<const char*>& parameter) { return parameter.param; }

INSTANTIATE_TEST_SUITE_P(Ops, OpThreads, ::testing::ValuesIn(kOpNames), op_name);

TEST(OpSuite, CoversEveryOperationOnce) {
  std::vector<std::string> names(std::begin(kOpNames), std::end(kOpNames));
  std::sort(names.begin(), names.end());
  EXPECT_EQ(std::adjacent_find(names.begin(), names.end()), names.end());
  EXPECT_EQ(names.size(), 23u);
  for (const auto& list : {row_cases(), matrix_cases(), sequence_cases()})
    for (const OpCase& op_case : list) EXPECT_TRUE(std::binary_search(names.begin(), names.end(), op_case.op)) << op_case.op;
}

// Both evaluations of the reference, whose arithmetic differs, agree to what rounding the results to f32 leaves.
TEST(OpSuite, ChunkedReferenceEqualsRecurrentReference) {
  TestContext context(reference_backend());
  const std::vector<OpCase> recurrent = chosen_cases("gdn_recurrent"), chunked = chosen_cases("gdn_chunked");
  ASSERT_EQ(recurrent.size(), chunked.size());
  for (std::size_t i = 0; i < recurrent.size(); ++i)
    EXPECT_LE(error_of(recurrent[i], chunked[i].run(context), recurrent[i].run(context)), 1e-6) << recurrent[i].what;
}

// Mutations: the reference with one mistake that a careful reader could make.

void scan_other_order(Context& context, const GdnScan& scan, Rows out) {
  GdnScan other = scan;
  other.order = scan.order == HeadOrder::kTiled ? HeadOrder::kGrouped : HeadOrder::kTiled;
  reference_ops().gdn_recurrent(context, other, out);
}

void scan_forgets_state(Context& context, const GdnScan& scan, Rows out) {
  std::fill_n(scan.state, scan.value_heads * scan.head_dim * scan.head_dim, 0.0f);
  reference_ops().gdn_chunked(context, scan, out);
}

void mixer_forgets_its_inputs(Context& context, const GdnMixer& mixer, Rows out) {
  std::fill_n(mixer.conv_state, 3 * mixer.mixed.dim, 0.0f);
  reference_ops().gdn_mixer(context, mixer, out);
}

void mixer_gates_with_beta(Context& context, const GdnMixer& mixer, Rows out) {
  GdnMixer other = mixer;
  std::swap(other.a, other.b);
  reference_ops().gdn_mixer(context, other, out);
}

void l2_norm_without_scale(Context& context, ConstRows x, float eps, float, Rows out) { reference_ops().l2_norm(context, x, eps, 1, out); }
void l2_norm_eps_outside(Context& context, ConstRows x, float, float scale, Rows out) { reference_ops().l2_norm(context, x, 1e-24f, scale, out); }
void rms_norm_other_eps(Context& context, ConstRows x, const float* weight, float, Rows out) { reference_ops().rms_norm(context, x, weight, 1e-5f, out); }

void attention_without_scale(Context& context, const Attention& a, Rows out) {
  Attention other = a;
  other.scale = 1;
  reference_ops().attention(context, other, out);
}

void attention_strictly_causal(Context& context, const Attention& a, Rows out) {
  if (a.past == 0) return reference_ops().attention(context, a, out);
  Attention other = a;
  other.past = a.past - 1;
  reference_ops().attention(context, other, out);
}

void rope_interleaved(Context& context, Rows x, const float* weight, float eps, std::int64_t heads, ConstRows angles) {
  reference_ops().rms_norm(context, x, weight, eps, x);
  const std::int64_t half = angles.dim / 2;
  for (std::int64_t r = 0; r < x.rows; ++r)
    for (std::int64_t i = 0; i < half; ++i) {
      const float c = angles.row(r / heads)[i], s = angles.row(r / heads)[i + half], a = x.row(r)[2 * i], b = x.row(r)[2 * i + 1];
      x.row(r)[2 * i] = a * c - b * s, x.row(r)[2 * i + 1] = b * c + a * s;
    }
}

void rope_before_the_norm(Context& context, Rows x, const float* weight, float eps, std::int64_t heads, ConstRows angles) {
  const Grid ones = Grid(1, x.dim).set([](std::int64_t, std::int64_t) { return 1.0f; });
  reference_ops().norm_rope(context, x, static_cast<ConstRows>(ones).data, eps, heads, angles);
  reference_ops().rms_norm(context, x, weight, eps, x);
}

void angles_one_late(Context& context, std::int64_t first, double theta, Rows out) { reference_ops().rope_angles(context, first + 1, theta, out); }

void rotate_never_back(Context& context, Rows x, Rotation rotation, bool) { reference_ops().rotate(context, x, rotation, false); }
void rotate_without_signs(Context& context, Rows x, Rotation rotation, bool back) {
  for (std::int64_t i = 0; i < x.dim; i += rotation == Rotation::kSigned ? 128 : x.dim)
    reference_ops().rotate(context, x.columns(i, rotation == Rotation::kSigned ? 128 : x.dim), Rotation::kHadamard, back);
}

void attention_with_plain_queries(Context& context, const Attention& a, Rows out) {
  Attention other = a;
  other.keys.rotation = Rotation::kNone;
  reference_ops().attention(context, other, out);
}
void attention_with_rotated_result(Context& context, const Attention& a, Rows out) {
  Attention other = a;
  other.values.rotation = Rotation::kNone;
  reference_ops().attention(context, other, out);
}
void attention_gates_before_turning_back(Context& context, const Attention& a, Rows out) {
  attention_with_rotated_result(context, a, out);
  reference_ops().rotate(context, out, a.values.rotation, true);
}

void kv_write_unrotated(Context& context, ConstRows x, const KvCache& cache, std::int64_t first_row) {
  reference_ops().kv_write(context, x, cache.rows, first_row);
}

void route_ties_to_the_highest(Context& context, ConstRows logits, std::int64_t k, bool normalize, std::span<std::int32_t> ids, std::span<float> weights) {
  Grid mirrored(logits.rows, logits.dim);
  mirrored.set([&](std::int64_t r, std::int64_t i) { return logits.row(r)[logits.dim - 1 - i]; });
  reference_ops().moe_route(context, mirrored, k, normalize, ids, weights);
  for (std::int32_t& id : ids) id = static_cast<std::int32_t>(logits.dim) - 1 - id;
}

void route_always_normalized(Context& context, ConstRows logits, std::int64_t k, bool, std::span<std::int32_t> ids, std::span<float> weights) {
  reference_ops().moe_route(context, logits, k, true, ids, weights);
}

void experts_swap_gate_and_up(Context& context, const MoeExperts& moe, Rows out) {
  MoeExperts other = moe;
  std::swap(other.gate, other.up);
  reference_ops().moe_experts(context, other, out);
}

void swiglu_swapped(Context& context, ConstRows gate, ConstRows up, Rows out) { reference_ops().swiglu(context, up, gate, out); }

void conv_taps_reversed(Context& context, ConstRows x, const Tensor& weight, float* state, Rows out) {
  Matrix reversed(DType::kF32, weight.rows(), 4);
  std::vector<float> taps;
  for (std::int64_t c = 0; c < weight.rows(); ++c)
    for (int j = 3; j >= 0; --j) taps.push_back(weight.f32()[4 * c + j]);
  reference_ops().conv1d_silu(context, x, reversed.quantize(taps), state, out);
}

void gated_norm_of_sigmoid(Context& context, ConstRows x, const float* weight, ConstRows z, float eps, Rows out) {
  reference_ops().rms_norm(context, x, weight, eps, out);
  reference_ops().sigmoid_gate(context, out, z);
}

// What a matmul with one column of every row left out gives.
void matmul_misses_the_last_column(Context& context, ConstRows x, const Tensor& weight, Rows out) {
  Grid cut(x.rows, x.dim);
  cut.set([&](std::int64_t r, std::int64_t i) { return i + 1 == x.dim ? 0 : x.row(r)[i]; });
  reference_ops().matmul(context, cut, weight, out);
}

void sum_is_not_kept(Context& context, Rows x, ConstRows y, const float* weight, float eps, Rows out) {
  Grid sum(x.rows, x.dim);
  sum.set([&](std::int64_t r, std::int64_t i) { return x.row(r)[i] + y.row(r)[i]; });
  reference_ops().rms_norm(context, sum, weight, eps, out);
}

void projections_swap_gate_and_up(Context& context, ConstRows x, std::span<const Projection> projections) {
  for (Projection p : projections) {
    if (p.up.data) std::swap(p.weight, p.up);
    reference_ops().matmuls(context, x, {&p, 1});
  }
}

void projections_miss_the_last(Context& context, ConstRows x, std::span<const Projection> projections) {
  reference_ops().matmuls(context, x, projections.first(projections.size() - 1));
}

void embed_ignores_the_first_row(Context& context, const Tensor& table, std::int64_t, std::span<const std::int32_t> ids, Rows out) {
  reference_ops().embed(context, table, 0, ids, out);
}

struct Mutation {
  const char* what;
  const char* op;
  void (*apply)(Ops&);
};

const Mutation kMutations[] = {
    {"value heads read the other head order's keys", "gdn_recurrent", [](Ops& ops) { ops.gdn_recurrent = scan_other_order; }},
    {"the state of the call before is dropped", "gdn_chunked", [](Ops& ops) { ops.gdn_chunked = scan_forgets_state; }},
    {"the last inputs of the call before are dropped", "gdn_mixer", [](Ops& ops) { ops.gdn_mixer = mixer_forgets_its_inputs; }},
    {"the projections of the gates are swapped", "gdn_mixer", [](Ops& ops) { ops.gdn_mixer = mixer_gates_with_beta; }},
    {"q is not scaled", "l2_norm", [](Ops& ops) { ops.l2_norm = l2_norm_without_scale; }},
    {"eps is not added to the sum of squares", "l2_norm", [](Ops& ops) { ops.l2_norm = l2_norm_eps_outside; }},
    {"another eps", "rms_norm", [](Ops& ops) { ops.rms_norm = rms_norm_other_eps; }},
    {"scores are not scaled", "attention", [](Ops& ops) { ops.attention = attention_without_scale; }},
    {"a token does not see itself", "attention", [](Ops& ops) { ops.attention = attention_strictly_causal; }},
    {"neighbours are rotated instead of halves", "norm_rope", [](Ops& ops) { ops.norm_rope = rope_interleaved; }},
    {"RoPE comes before the norm's weight", "norm_rope", [](Ops& ops) { ops.norm_rope = rope_before_the_norm; }},
    {"positions are off by one", "rope_angles", [](Ops& ops) { ops.rope_angles = angles_one_late; }},
    {"the inverse is forgotten", "rotate", [](Ops& ops) { ops.rotate = rotate_never_back; }},
    {"signs are left out", "rotate", [](Ops& ops) { ops.rotate = rotate_without_signs; }},
    {"queries are not rotated as the keys are", "attention", [](Ops& ops) { ops.attention = attention_with_plain_queries; }},
    {"the result is not turned back", "attention", [](Ops& ops) { ops.attention = attention_with_rotated_result; }},
    {"the gate acts before the result is turned back", "attention", [](Ops& ops) { ops.attention = attention_gates_before_turning_back; }},
    {"rows are cached unrotated", "kv_write", [](Ops& ops) { ops.kv_write = kv_write_unrotated; }},
    {"ties go to the highest id", "moe_route", [](Ops& ops) { ops.moe_route = route_ties_to_the_highest; }},
    {"weights are normalized unasked", "moe_route", [](Ops& ops) { ops.moe_route = route_always_normalized; }},
    {"gate and up are swapped", "moe_experts", [](Ops& ops) { ops.moe_experts = experts_swap_gate_and_up; }},
    {"gate and up are swapped", "swiglu", [](Ops& ops) { ops.swiglu = swiglu_swapped; }},
    {"taps run backwards", "conv1d_silu", [](Ops& ops) { ops.conv1d_silu = conv_taps_reversed; }},
    {"the output gate is a sigmoid", "gated_rms_norm", [](Ops& ops) { ops.gated_rms_norm = gated_norm_of_sigmoid; }},
    {"the last column is left out", "matmul", [](Ops& ops) { ops.matmul = matmul_misses_the_last_column; }},
    {"the sum is not kept", "add_rms_norm", [](Ops& ops) { ops.add_rms_norm = sum_is_not_kept; }},
    {"gate and up are swapped", "matmuls", [](Ops& ops) { ops.matmuls = projections_swap_gate_and_up; }},
    {"the last projection is left out", "matmuls", [](Ops& ops) { ops.matmuls = projections_miss_the_last; }},
    {"a shard's first row is ignored", "embed", [](Ops& ops) { ops.embed = embed_ignores_the_first_row; }},
};

TEST(OpMutation, EveryMistakeIsSeen) {
  TestContext reference(reference_backend());
  for (const Mutation& mutation : kMutations) {
    Ops ops = reference_ops();
    mutation.apply(ops);
    TestContext own(reference_backend());
    Context mutated{ops, own.context.pool, own.context.workspace, own.counters};
    const std::vector<OpCase> cases = cases_of(mutation.op);
    EXPECT_TRUE(std::any_of(cases.begin(), cases.end(), [&](const OpCase& op_case) {
      return error_of(op_case, op_case.run(mutated), op_case.run(reference)) > op_case.tolerance;
    })) << mutation.op << ": " << mutation.what;
  }
}

}  // namespace
}  // namespace crossover::testing
