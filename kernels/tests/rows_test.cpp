// Operations that touch every value once: the cpu backend against the reference, at widths with and without a tail.
#include "kernels/tests/test_context.h"

namespace crossover {
namespace {

using testing::Backend;
using testing::Grid;
using testing::Random;
using testing::TestContext;

constexpr std::int64_t kDims[] = {1, 3, 15, 16, 17, 64, 100, 2048, 5121};

class RowOps : public ::testing::TestWithParam<Backend> {
 protected:
  // `act(context, out)` fills out; both backends run it on equal inputs.
  template <class Act>
  void expect_near(const Grid& out, double limit, Act act) {
    Grid found = out, wanted = out;
    act(context, found);
    act(reference, wanted);
    found.expect_gaps_untouched();
    EXPECT_LE(testing::elementwise_error(found, wanted, 1e-6), limit) << out.row_count() << " rows of " << out.dim();
  }
  Grid random_rows(std::int64_t rows, std::int64_t dim, float scale = 1) { return Grid(rows, dim, 5).fill(random, scale); }

  Random random{3};
  TestContext context{GetParam()}, reference{testing::reference_backend()};
};
INSTANTIATE_TEST_SUITE_P(Cpu, RowOps, ::testing::ValuesIn(testing::tested_backends()), testing::test_name);

TEST_P(RowOps, Norms) {
  for (const std::int64_t dim : kDims)
    for (const float scale : {1e-6f, 1.0f, 1e6f}) {
      const Grid x = random_rows(7, dim, scale), z = random_rows(7, dim, 4), weight = random_rows(1, dim);
      const float* w = static_cast<ConstRows>(weight).data;
      const Grid empty(7, dim, 9);
      expect_near(empty, 2e-6, [&](Context& c, Rows out) { op::rms_norm(c, x, w, 1e-6f, out); });
      expect_near(empty, 2e-6, [&](Context& c, Rows out) { op::l2_norm(c, x, 1e-6f, 0.08838835f, out); });
      expect_near(empty, 3e-6, [&](Context& c, Rows out) { op::gated_rms_norm(c, x, w, z, 1e-6f, out); });
      expect_near(x, 2e-6, [&](Context& c, Rows out) { op::rms_norm(c, out, w, 1e-6f, out); });
      expect_near(x, 2e-6, [&](Context& c, Rows out) { op::l2_norm(c, out, 1e-6f, 1, out); });
      expect_near(x, 3e-6, [&](Context& c, Rows out) { op::gated_rms_norm(c, out, w, z, 1e-6f, out); });
    }
}

TEST_P(RowOps, NormsOfZeroRowsAreZero) {
  const Grid x = Grid(2, 128).set([](std::int64_t, std::int64_t) { return 0.0f; });
  expect_near(Grid(2, 128), 0, [&](Context& c, Rows out) { op::l2_norm(c, x, 1e-6f, 1, out); });
}

TEST_P(RowOps, SumsAndGates) {
  for (const std::int64_t dim : kDims) {
    const Grid x = random_rows(6, dim), y = random_rows(6, dim), gate = random_rows(6, dim, 20), one = random_rows(6, 1, 3);
    expect_near(x, 0, [&](Context& c, Rows out) { op::add(c, out, y); });
    Grid gated = x;  // a sum may cancel: asked for is the error against the largest value
    Grid wanted = x;
    op::add_gated(context, gated, y, one);
    op::add_gated(reference, wanted, y, one);
    EXPECT_LE(testing::relative_error(gated, wanted), 1e-6);
    expect_near(x, 2e-6, [&](Context& c, Rows out) { op::sigmoid_gate(c, out, gate); });
    expect_near(Grid(6, dim, 2), 2e-6, [&](Context& c, Rows out) { op::swiglu(c, gate, y, out); });
    expect_near(gate, 2e-6, [&](Context& c, Rows out) { op::swiglu(c, out, y, out); });
    expect_near(y, 2e-6, [&](Context& c, Rows out) { op::swiglu(c, gate, out, out); });
  }
}

TEST_P(RowOps, GatesSaturateWithoutNaN) {
  const Grid x = random_rows(1, 8);
  const float gates[] = {-1e30f, -500, -100, -90, 90, 500, 1e30f, 0};
  const Grid gate = Grid(1, 8).set([&](std::int64_t, std::int64_t i) { return gates[i]; });
  expect_near(x, 2e-6, [&](Context& c, Rows out) { op::sigmoid_gate(c, out, gate); });
}

TEST_P(RowOps, GdnGates) {
  const Grid a = random_rows(40, 48, 30), b = random_rows(40, 48, 30);
  std::vector<float> ssm_a(48), dt_bias(48);
  for (float& value : ssm_a) value = -testing::uniform(random, 0.01f, 16);
  for (float& value : dt_bias) value = testing::uniform(random, -5, 5);
  Grid unused(40, 48);
  expect_near(Grid(40, 48, 3), 2e-6, [&](Context& c, Rows g) { op::gdn_gates(c, a, b, ssm_a.data(), dt_bias.data(), g, unused); });
  expect_near(Grid(40, 48, 3), 2e-6, [&](Context& c, Rows beta) { op::gdn_gates(c, a, b, ssm_a.data(), dt_bias.data(), unused, beta); });
}

TEST_P(RowOps, RopeTurnsPairsHalfTheRotaryDimensionApart) {
  for (const std::int64_t first : {0, 1, 1000, 262000}) {
    Grid found = random_rows(12, 256), wanted = found, normed = found, weight = random_rows(1, 256);
    Grid angles(3, 64, 5), wanted_angles(3, 64);
    op::rope_angles(context, first, 1e7, angles);
    op::rope_angles(reference, first, 1e7, wanted_angles);
    EXPECT_LE(testing::relative_error(angles, wanted_angles), 1e-7) << "position " << first;
    op::norm_rope(context, found, weight.data(), 1e-6f, 4, angles);
    op::norm_rope(reference, wanted, weight.data(), 1e-6f, 4, wanted_angles);
    op::rms_norm(context, normed, weight.data(), 1e-6f, normed);
    EXPECT_LE(testing::relative_error(found, wanted), 5e-7) << "position " << first;
    for (std::int64_t r = 0; r < 12; ++r)
      for (std::int64_t i = 64; i < 256; ++i) ASSERT_EQ(found.at(r, i), normed.at(r, i));
    found.expect_gaps_untouched();
    angles.expect_gaps_untouched();
  }
}

struct Convolution {
  Grid out;
  std::vector<float> state;
};

Convolution convolve(Context& context, const Grid& x, const testing::Matrix& weight, std::vector<float> state,
                     std::initializer_list<std::int64_t> pieces) {
  Convolution result{Grid(x.row_count(), x.dim(), 7), std::move(state)};
  std::int64_t first = 0;
  for (const std::int64_t count : pieces) {
    op::conv1d_silu(context, static_cast<ConstRows>(x).slice(first, count), weight, result.state.data(),
                    static_cast<Rows>(result.out).slice(first, count));
    first += count;
  }
  EXPECT_EQ(first, x.row_count());
  result.out.expect_gaps_untouched();
  return result;
}

TEST_P(RowOps, ConvolutionHandsItsStateOn) {
  for (const std::int64_t channels : {1, 17, 256, 300, 2048, 4112}) {
    const Grid x = random_rows(70, channels);
    testing::Matrix weight(DType::kF32, channels, 4);
    weight.fill(random, 0.5f);
    std::vector<float> state(static_cast<std::size_t>(3 * channels));
    for (float& value : state) value = testing::normal(random);
    const Convolution wanted = convolve(reference, x, weight, state, {70}), whole = convolve(context, x, weight, state, {70});
    EXPECT_LE(testing::relative_error(whole.out, wanted.out), 1e-6) << channels << " channels";
    EXPECT_EQ(whole.state, wanted.state);
    for (const auto& pieces : {std::initializer_list<std::int64_t>{1, 1, 1, 67}, {2, 2, 66}, {3, 3, 64}, {5, 65}, {32, 33, 1, 2, 2}, {69, 1}}) {
      const Convolution split = convolve(context, x, weight, state, pieces);
      EXPECT_EQ(testing::relative_error(split.out, whole.out), 0);
      EXPECT_EQ(split.state, whole.state);
    }
  }
}

TEST(RowOpsThreads, DoNotChangeABit) {
  Random random{9};
  const Grid x = Grid(300, 640).fill(random);
  testing::Matrix weight(DType::kF32, 640, 4);
  weight.fill(random);
  const std::vector<float> state(3 * 640, 0.5f);
  for (const cpu::Isa isa : cpu::usable_isas()) {
    TestContext one({cpu_ops, isa, 1}), three({cpu_ops, isa, 3});
    EXPECT_EQ(testing::relative_error(convolve(three, x, weight, state, {300}).out, convolve(one, x, weight, state, {300}).out), 0);
    Grid by_one(300, 640), by_three(300, 640);
    op::l2_norm(one, x, 1e-6f, 1, by_one);
    op::l2_norm(three, x, 1e-6f, 1, by_three);
    EXPECT_EQ(testing::relative_error(by_three, by_one), 0);
  }
}

TEST(CpuMemory, IsAlignedAtEverySize) {
  for (const std::size_t bytes : {std::size_t{1}, std::size_t{100}, std::size_t{9} << 20}) {
    std::byte* memory = cpu_ops().allocate(bytes);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory) % 64, 0u);
    memory[bytes - 1] = std::byte{1};
    cpu_ops().release(memory, bytes);
  }
}

}  // namespace
}  // namespace crossover
