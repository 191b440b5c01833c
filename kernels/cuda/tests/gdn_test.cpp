// The gated delta rule by chunks with bf16 products, which the suite (f32) leaves out, and what has to be the same bits between forms and pieces.
#include <gtest/gtest.h>

#include "kernels/cuda/gdn_plan.h"
#include "kernels/cuda/runtime.h"
#include "kernels/tests/test_context.h"

namespace crossover {
namespace {

using testing::Grid;
using testing::Random;
using testing::TestContext;

constexpr std::int64_t kDim = 128;

// Of the largest value. Operands of a product are off by up to 2^-9 each, errors of many terms mostly cancel, and a result went through four
// products one after the other (K K^T, the inverse, W or U, the outputs): 4 x 2^-9 = 8e-3 and half as much again. The limit of the CPU's
// bf16 too (kernels/tests/gdn_test.cpp).
constexpr double kBf16Limit = 1.2e-2;

struct Case {
  std::int64_t tokens, key_heads = 1, ratio = 2;
  float lowest_g = -0.3f, highest_g = 0, lowest_beta = 0;
  bool equal_keys = false;
  HeadOrder order = HeadOrder::kTiled;
};

struct Inputs {
  Case shape;
  Grid qk, v, g, beta, start;

  Inputs(const Case& c, Random& random)
      : shape(c), qk(c.tokens, 2 * c.key_heads * kDim), v(c.tokens, heads() * kDim, 8), g(c.tokens, heads(), 1), beta(c.tokens, heads()),
        start(heads() * kDim, kDim) {
    qk.set([&](std::int64_t t, std::int64_t i) { return c.equal_keys && t > 0 ? qk.at(0, i) : testing::normal(random); });
    for (std::int64_t t = 0; t < c.tokens; ++t)
      for (std::int64_t h = 0; h < 2 * c.key_heads; ++h) normalise(t, h * kDim, h < c.key_heads ? 0.08838835f : 1.0f);
    v.fill(random);
    g.set([&](std::int64_t, std::int64_t) { return testing::uniform(random, c.lowest_g, c.highest_g); });
    beta.set([&](std::int64_t, std::int64_t) { return testing::uniform(random, c.lowest_beta, 1); });
    start.fill(random, 0.3f);
  }
  std::int64_t heads() const { return shape.key_heads * shape.ratio; }
  void normalise(std::int64_t t, std::int64_t first, float length) {
    double squares = 0;
    for (std::int64_t i = 0; i < kDim; ++i) squares += static_cast<double>(qk.at(t, first + i)) * static_cast<double>(qk.at(t, first + i));
    for (std::int64_t i = 0; i < kDim; ++i) qk.at(t, first + i) *= length / static_cast<float>(std::sqrt(squares));
  }
};

struct Result { Grid out, state; };

class CudaGdn : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string why;
    if (cuda::device_count(&why) == 0) GTEST_SKIP() << why;
  }

  // On the device where there is one in the context, else by the reference's recurrence.
  static Result run(TestContext& tested, const Inputs& in, const std::vector<std::int64_t>& pieces) {
    Result result{Grid(in.shape.tokens, in.heads() * kDim, 2), in.start};
    std::int64_t first = 0;
    const std::int64_t keys = in.shape.key_heads * kDim;
    for (const std::int64_t count : pieces) {
      const auto rows = [&](const Grid& x) { return static_cast<ConstRows>(x).slice(first, count); };
      const GdnScan scan{rows(in.qk).columns(0, keys), rows(in.qk).columns(keys, keys), rows(in.v), rows(in.g), rows(in.beta), result.state.data(),
                         in.shape.key_heads, in.heads(), kDim, in.shape.order};
      (tested.context.device ? op::gdn_chunked : op::gdn_recurrent)(tested, scan, static_cast<Rows>(result.out).slice(first, count));
      tested.context.ops.synchronize(tested);
      first += count;
    }
    EXPECT_EQ(first, in.shape.tokens);
    result.out.expect_gaps_untouched(), result.state.expect_gaps_untouched();
    return result;
  }
  static Result on_device(const Inputs& in, const std::vector<std::int64_t>& pieces) {
    TestContext tested({cuda_ops, std::nullopt, 1});
    cuda::Device device(0);
    tested.context.device = &device;
    return run(tested, in, pieces);
  }
  static void expect_near_reference(const Inputs& in, double limit = kBf16Limit) {
    SCOPED_TRACE(in.shape.tokens);
    TestContext reference(testing::reference_backend());
    const Result wanted = run(reference, in, {in.shape.tokens}), found = on_device(in, {in.shape.tokens});
    EXPECT_LE(testing::relative_error(found.out, wanted.out), limit);
    EXPECT_LE(testing::relative_error(found.state, wanted.state), limit);
  }

  Random random{20260521};
};

TEST_F(CudaGdn, ChunksInBf16EqualTheReferenceAtEveryLength) {
  for (const std::int64_t tokens : {1, 15, 63, 64, 65, 200}) expect_near_reference(Inputs({.tokens = tokens}, random));
  expect_near_reference(Inputs({.tokens = 70, .key_heads = 2, .ratio = 3, .order = HeadOrder::kGrouped}, random));
  expect_near_reference(Inputs({.tokens = 130, .key_heads = 1, .ratio = 1}, random));  // the narrow slices
}

TEST_F(CudaGdn, ChunksInBf16HoldAtTheEndsOfDecay) {
  expect_near_reference(Inputs({.tokens = 200, .ratio = 1, .lowest_g = -1e-7f}, random));
  expect_near_reference(Inputs({.tokens = 130, .ratio = 1, .lowest_g = -20, .highest_g = -20}, random));
  expect_near_reference(Inputs({.tokens = 130, .ratio = 1, .lowest_g = -3000}, random));
  Inputs after_large({.tokens = 64, .ratio = 1, .lowest_g = -0.02f}, random);
  for (std::int64_t t = 0; t < 20; ++t) after_large.g.at(t, 0) = -100;
  expect_near_reference(after_large);
  after_large.g.at(3, 0) = -std::numeric_limits<float>::infinity();
  expect_near_reference(after_large);
}

// Equal keys written with full strength: the triangular system of the chunk is as far from the identity as it can be. What a token writes is the
// difference of two values, and the state along the key is the sum of all writes of the chunk: 64 roundings of U and of X, each evenly within
// 2^-9 of up to 2 (rms 2^-9 x 0.6 x 1.4), add up to sqrt(128) x 1.6e-3 = 1.9e-2 of a value; the largest values are 3.5, the largest of many errors 3 rms.
TEST_F(CudaGdn, ChunksInBf16HoldForEqualKeysAtFullStrength) {
  expect_near_reference(Inputs({.tokens = 200, .ratio = 1, .lowest_g = -1e-4f, .lowest_beta = 0.9999f, .equal_keys = true}, random), 2.5e-2);
}

// Longer than a segment; at the borders of chunks nothing is rounded that a longer call would not round.
TEST_F(CudaGdn, StateGoesFromSegmentToSegmentAndFromCallToCall) {
  const Inputs in({.tokens = cuda::kGdnSegmentChunks * cuda::kGdnChunk + 70, .ratio = 1, .lowest_g = -0.01f}, random);
  expect_near_reference(in);
  const Result whole = on_device(in, {in.shape.tokens}), split = on_device(in, {64, 320, in.shape.tokens - 384});
  EXPECT_EQ(testing::relative_error(split.out, whole.out), 0);
  EXPECT_EQ(testing::relative_error(split.state, whole.state), 0);
}

struct Mixed {
  std::int64_t tokens, heads;
  testing::Matrix conv;
  Grid mixed, z, a, b, ssm_a, dt_bias, norm, conv_state, state;

  Mixed(std::int64_t t, std::int64_t h, Random& random)
      : tokens(t), heads(h), conv(DType::kF32, 2 * h * kDim, 4), mixed(t, 2 * h * kDim), z(t, h * kDim), a(t, h), b(t, h), ssm_a(1, h), dt_bias(1, h),
        norm(1, kDim), conv_state(3, 2 * h * kDim), state(h * kDim, kDim) {
    conv.fill(random, 0.5f);
    for (Grid* grid : {&mixed, &z, &a, &b, &dt_bias, &norm, &conv_state}) grid->fill(random);
    ssm_a.set([&](std::int64_t, std::int64_t) { return -testing::uniform(random, 0.01f, 0.5f); });
    state.fill(random, 0.1f);
  }

  // Two value heads on each key head.
  Result run(TestContext& context, GdnForm form, const std::vector<std::int64_t>& pieces) const {
    Result result{Grid(tokens, heads * kDim), state};
    Grid inputs = conv_state, rates = ssm_a, bias = dt_bias, scale = norm;
    std::int64_t first = 0;
    for (const std::int64_t count : pieces) {
      const auto rows = [&](const Grid& x) { return static_cast<ConstRows>(x).slice(first, count); };
      op::gdn_mixer(context, {.mixed = rows(mixed), .conv = conv, .a = rows(a), .b = rows(b), .ssm_a = rates.data(), .dt_bias = bias.data(), .z = rows(z),
                              .norm = scale.data(), .conv_state = inputs.data(), .state = result.state.data(), .key_heads = heads / 2,
                              .value_heads = heads, .form = form}, static_cast<Rows>(result.out).slice(first, count));
      context.context.ops.synchronize(context);
      first += count;
    }
    EXPECT_EQ(first, tokens);
    return result;
  }
  Result on_device(GdnForm form, const std::vector<std::int64_t>& pieces, std::string* path = nullptr) const {
    TestContext tested({cuda_ops, std::nullopt, 1});
    cuda::Device device(0);
    tested.context.device = &device;
    Result result = run(tested, form, pieces);
    if (path) *path = tested.counters.paths.at("gdn");
    return result;
  }
};

TEST_F(CudaGdn, MixerEqualsTheReferenceInBf16AndInPieces) {
  const Mixed in(200, 2, random);
  TestContext reference(testing::reference_backend());
  const Result wanted = in.run(reference, GdnForm::kRecurrent, {200});
  for (const auto& pieces : std::vector<std::vector<std::int64_t>>{{200}, {1, 2, 67, 130}}) {
    const Result found = in.on_device(GdnForm::kAuto, pieces);
    EXPECT_LE(testing::relative_error(found.out, wanted.out), kBf16Limit);
    EXPECT_LE(testing::relative_error(found.state, wanted.state), kBf16Limit);
  }
}

// One launch for few tokens, three for more: the same arithmetic in the same order.
TEST_F(CudaGdn, RecurrentMixerGivesTheSameBitsInPiecesOfAnyLength) {
  const Mixed in(40, 4, random);
  const Result whole = in.on_device(GdnForm::kRecurrent, {40});
  for (const auto& pieces : std::vector<std::vector<std::int64_t>>{{1, 1, 16, 22}, {17, 23}, {5, 3, 32}}) {
    const Result split = in.on_device(GdnForm::kRecurrent, pieces);
    EXPECT_EQ(testing::relative_error(split.out, whole.out), 0);
    EXPECT_EQ(testing::relative_error(split.state, whole.state), 0);
  }
}

TEST_F(CudaGdn, AutoTakesChunksFromTheCrossingOn) {
  for (const std::int64_t tokens : {std::int64_t{1}, cuda::kGdnChunkedFrom - 1, cuda::kGdnChunkedFrom, cuda::kGdnChunkedFrom + 3}) {
    std::string path;
    Mixed(tokens, 2, random).on_device(GdnForm::kAuto, {tokens}, &path);
    EXPECT_EQ(path, tokens >= cuda::kGdnChunkedFrom ? "cuda-chunked-bf16" : "cuda-recurrent") << tokens;
  }
}

TEST(GdnPlan, SlicesFillTheDeviceInOneWave) {
  EXPECT_EQ(cuda::gdn_scan_columns(32, 132), 32);  // 128 blocks
  EXPECT_EQ(cuda::gdn_scan_columns(48, 132), 32);  // 192, two on some multiprocessors
  EXPECT_EQ(cuda::gdn_scan_columns(67, 132), 64);
  EXPECT_EQ(cuda::gdn_scan_columns(48, 108), 32);
  EXPECT_EQ(cuda::gdn_scan_columns(32, 28), 64);
}

TEST(GdnPlan, SegmentsCoverEveryTokenOnce) {
  for (const std::int64_t tokens : {1, 63, 64, 1023, 1024, 1025, 5000}) {
    std::int64_t next = 0;
    for (std::int64_t i = 0; i < cuda::gdn_segments(tokens); ++i) {
      const cuda::GdnSegment segment = cuda::gdn_segment(i, tokens);
      EXPECT_EQ(segment.first, next);
      EXPECT_EQ(segment.first % cuda::kGdnChunk, 0);
      EXPECT_GT(segment.tokens, 0);
      EXPECT_LE(cuda::gdn_chunks(segment.tokens), cuda::kGdnSegmentChunks);
      next += segment.tokens;
    }
    EXPECT_EQ(next, tokens);
  }
}

}  // namespace
}  // namespace crossover
