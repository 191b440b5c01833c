// The oracle has an oracle: every reference operation on a small case against PyTorch in float64. The expected values are printed
// by tools/oracle/reference_ops.py.
#include <gtest/gtest.h>

#include "kernels/tests/test_context.h"

namespace crossover {
namespace {

using testing::Grid;
using testing::Matrix;
using testing::TestContext;

constexpr double kTolerance = 3e-7;  // one rounding of the result to f32, one of the printed value

std::vector<float> wave(double phase, std::int64_t count, double scale = 1) {
  std::vector<float> values(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(std::sin(0.7 * static_cast<double>(i) + phase) * scale);
  return values;
}

std::vector<float> negated_magnitude(std::vector<float> values) {
  for (float& value : values) value = -std::fabs(value);
  return values;
}

// Padded rows, so that a stride that is ignored is seen.
Grid grid(std::int64_t rows, std::int64_t dim, const std::vector<float>& values) {
  Grid result(rows, dim, 3);
  result.set([&](std::int64_t r, std::int64_t i) { return values[static_cast<std::size_t>(r * dim + i)]; });
  return result;
}
Grid wave_grid(double phase, std::int64_t rows, std::int64_t dim, double scale = 1) { return grid(rows, dim, wave(phase, rows * dim, scale)); }

Matrix matrix(std::int64_t experts, std::int64_t rows, std::int64_t cols, double phase) {
  Matrix result(DType::kF32, experts, rows, cols);
  result.quantize(wave(phase, experts * rows * cols));
  return result;
}

void expect_values(const Grid& found, const std::vector<double>& expected) {
  ASSERT_EQ(static_cast<std::size_t>(found.row_count() * found.dim()), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const auto at = static_cast<std::int64_t>(i);
    EXPECT_NEAR(found.at(at / found.dim(), at % found.dim()), expected[i], kTolerance * std::max(1.0, std::fabs(expected[i]))) << "value " << i;
  }
  found.expect_gaps_untouched();
}

class Reference : public ::testing::Test {
 protected:
  TestContext context{testing::reference_backend()};
  const Ops& ops = reference_ops();  // below the checked entries: the small heads here are no model's
};

TEST_F(Reference, Norms) {
  const Grid x = wave_grid(0, 2, 5), z = wave_grid(2, 2, 5);
  const std::vector<float> w = wave(1, 5);
  Grid out(2, 5, 1);
  ops.rms_norm(context, x, w.data(), 1e-3f, out);
  expect_values(out, {0, 0.952661267, 0.992606544, 0.0535239937, -0.305647587, -0.439854436, -1.28795617, -0.988881693,
                  -0.0391142739, -0.015330279});
  ops.gated_rms_norm(context, x, w.data(), z, 1e-3f, out);
  expect_values(out, {0, 0.246425599, -0.110708887, -0.0134076944, 0.0821158259, 0.102592112, 0.0512860694,
                  -0.366490605, -0.0274369369, -0.00983898986});
  ops.l2_norm(context, x, 1e-3f, 0.5f, out);
  expect_values(out, {0, 0.21500336, 0.328887289, 0.288090381, 0.111800064, -0.116987899, -0.290674724, -0.327652691,
                  -0.210530474, 0.00560751686});
}

TEST_F(Reference, Elementwise) {
  const Grid y = wave_grid(1, 2, 3);
  Grid x = wave_grid(0, 2, 3, 3), out(2, 3);
  ops.swiglu(context, x, y, out);
  expect_values(out, {0, 1.67418324, 1.89818347, 0.100161528, -0.450124082, 0.26620188});
  Grid gated = x;
  ops.sigmoid_gate(context, gated, y);
  expect_values(gated, {0, 1.40970929, 1.9592476, 1.32172972, 0.353381189, -0.287693605});
  ops.add_gated(context, x, y, wave_grid(2, 2, 1));
  expect_values(x, {0.599847931, 2.63956766, 3.43785738, 2.61479459, 0.634638808, -1.64399768});
  Grid sum = wave_grid(0, 2, 3);
  ops.add(context, sum, y);
  for (std::int64_t i = 0; i < 6; ++i) EXPECT_EQ(sum.at(i / 3, i % 3), wave(0, 6)[static_cast<std::size_t>(i)] + y.at(i / 3, i % 3));
}

TEST_F(Reference, Conv1dSilu) {
  std::vector<float> state = wave(2, 6);
  const Matrix weight = matrix(1, 2, 4, 1);
  Grid out(3, 2, 1);
  const Grid x = wave_grid(0, 3, 2);
  ops.conv1d_silu(context, x, weight, state.data(), out);
  expect_values(out, {-0.0740909403, 0.658605719, -0.276907027, 0.171352083, -0.0730581452, -0.251962378});
  EXPECT_EQ(state, wave(0, 6));  // three tokens later the state is these tokens
}

TEST_F(Reference, GdnGates) {
  const std::vector<float> ssm_a = negated_magnitude(wave(2, 3)), dt_bias = wave(3, 3);
  Grid g(2, 3), beta(2, 3);
  ops.gdn_gates(context, wave_grid(0, 2, 3, 30), wave_grid(1, 2, 3), ssm_a.data(), dt_bias.data(), g, beta);
  expect_values(g, {-0.696698649, -8.03332891, -7.31151423, -23.6757406, -4.06860588, -2.65391173e-06});
  expect_values(beta, {0.698774926, 0.729416631, 0.66272538, 0.510393668, 0.351635504, 0.273382136});
}

struct ScanExpectation {
  HeadOrder order;
  std::vector<double> out, state;
};

TEST_F(Reference, GdnScans) {
  const ScanExpectation tiled{HeadOrder::kTiled,
                 {0.795083153, 0.505483193, 0.230942328, -0.558148807, -0.375812604, -0.187328433, 0.52106704,
                  0.500096729, -0.123952333, -0.161359625, 0.398966967, -0.157690688, -0.174922286, -0.223045812,
                  -0.517909753, -0.120445163, 0.11537679, 0.144898714, 0.965057317, 0.310775433, 0.000564764253,
                  0.108119886, -1.00275286, -0.690943793},
                 {-0.181079509, -0.226580607, 0.0634792536, 0.110975573, 0.653588558, 0.378314234, 0.542072063,
                  0.0629731366, -0.00528670113, -0.187520815, -0.164896533, -0.609956718, -0.756909406, -0.504603132,
                  -0.511525775, -0.363729864}};
  const ScanExpectation grouped{HeadOrder::kGrouped,
                 {0.795083153, 0.505483193, -0.477813902, -0.778285648, -0.934856752, -0.567356656, 0.52106704,
                  0.500096729, -0.123952333, -0.161359625, 0.136433623, 0.074324118, -0.849655493, -1.09398427,
                  -0.517909753, -0.120445163, 0.11537679, 0.144898714, -0.179640932, -0.295942896, -0.586181031,
                  -1.33596239, -1.00275286, -0.690943793},
                 {-0.181079509, -0.226580607, 0.0634792536, 0.110975573, 0.296162713, 0.476258784, 0.435158526,
                  0.279732425, -0.39327397, -0.99019531, -0.331730258, -0.693624137, -0.756909406, -0.504603132,
                  -0.511525775, -0.363729864}};
  const Grid q = wave_grid(0, 3, 4), k = wave_grid(1, 3, 4), v = wave_grid(2, 3, 8);
  const Grid g = grid(3, 4, negated_magnitude(wave(3, 12)));
  Grid beta = wave_grid(4, 3, 4);
  beta.set([&](std::int64_t r, std::int64_t i) { return std::fabs(beta.at(r, i)); });
  for (const ScanExpectation& expected : {tiled, grouped})
    for (const auto scan : {ops.gdn_recurrent, ops.gdn_chunked}) {
      Grid state(1, 16), out(3, 8, 5);
      state.set([](std::int64_t, std::int64_t i) { return wave(5, 16)[static_cast<std::size_t>(i)]; });
      scan(context, {q, k, v, g, beta, state.data(), 2, 4, 2, expected.order}, out);
      expect_values(out, expected.out);
      expect_values(state, expected.state);
    }
}

TEST_F(Reference, Rope) {
  Grid x = wave_grid(0, 4, 6), angles(2, 4);
  const Grid before = x, ones = Grid(1, 6).set([](std::int64_t, std::int64_t) { return 1.0f; });
  ops.rope_angles(context, 5, 100, angles);
  ops.norm_rope(context, x, static_cast<ConstRows>(ones).data, 0, 2, angles);
  for (std::int64_t r = 0; r < 4; ++r) {  // the expected values are those of RoPE alone, which is linear
    double squares = 0;
    for (std::int64_t i = 0; i < 6; ++i) squares += static_cast<double>(before.at(r, i)) * before.at(r, i);
    for (std::int64_t i = 0; i < 6; ++i) x.at(r, i) *= static_cast<float>(std::sqrt(squares / 6));
  }
  expect_values(x, {0.944971669, 0.151509578, 0.279534824, 1.06639189, 0.334988147, -0.350783229, -0.852570006,
                  -0.87024431, 0.656708687, -0.456257296, 0.656986594, 0.98816824, 0.718160503, 0.760076833,
                  -0.590670542, -0.545867768, -0.979177713, -0.618137121, 0.309074906, 0.0750752211, 0.941756972,
                  1.07609251, 0.303118348, -0.382071406});
}

TEST_F(Reference, Attention) {
  const Matrix keys = matrix(1, 3, 4, 1), values = matrix(1, 3, 4, 2);
  Grid out(8, 2, 1);
  const Grid q = wave_grid(0, 8, 2);
  ops.attention(context, {q, keys.tensor(), values.tensor(), 1, 4, 2, 0.75f}, out);
  expect_values(out, {0.378445616, 0.111754219, 0.743246507, 0.328651898, -0.181408499, -0.217863959, -0.119297505,
                  0.28518396, 0.0514662741, 0.0509599603, 0.812076901, 0.538435778, 0.109557201, -0.367360993,
                  -0.0475208516, 0.0507550749});
}

TEST_F(Reference, Moe) {
  const Grid logits = wave_grid(0, 2, 4, 2), x = wave_grid(1, 2, 2);
  std::vector<std::int32_t> ids(4);
  Grid weights(1, 4), out(2, 2, 1);
  const std::span<float> span(weights.data(), 4);
  ops.moe_route(context, logits, 2, true, ids, span);
  EXPECT_EQ(ids, (std::vector<std::int32_t>{2, 3, 0, 1}));
  expect_values(weights, {0.560817557, 0.439182443, 0.797629294, 0.202370706});
  ops.moe_route(context, logits, 2, false, ids, span);
  expect_values(weights, {0.411893385, 0.322558274, 0.706725015, 0.179306905});
  const Matrix gate = matrix(4, 3, 2, 2), up = matrix(4, 3, 2, 3), down = matrix(4, 2, 3, 4);
  ops.moe_experts(context, {x, ids, span, gate, up, down}, out);
  expect_values(out, {0.592013735, 0.0427455051, -0.0784044832, 0.0334528842});
}

}  // namespace
}  // namespace crossover
