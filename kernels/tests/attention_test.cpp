// Attention of the cpu backend over every cache type against the reference, which reads the same quantized cache in double.
#include "kernels/tests/emulated_tiles.h"
#include "kernels/tests/test_context.h"

namespace crossover {
namespace {

using testing::Backend;
using testing::Grid;
using testing::Matrix;
using testing::Random;
using testing::TestContext;

struct Case {
  std::int64_t tokens, past, heads, kv_heads, head_dim;
  DType keys = DType::kF32, values = DType::kF32;
  float q_scale = 1;
};

struct Inputs {
  Case shape;
  Grid q;
  Matrix keys, values;

  // The cache has room for a few rows more than are filled; what lies there must not be read as a key.
  Inputs(const Case& c, Random& random)
      : shape(c),
        q(c.tokens * c.heads, c.head_dim, 8),
        keys(c.keys, c.past + c.tokens + 3, c.kv_heads * c.head_dim),
        values(c.values, c.past + c.tokens + 3, c.kv_heads * c.head_dim) {
    q.fill(random, c.q_scale);
    keys.fill(random);
    values.fill(random);
  }
  Attention attention() const {
    return {.q = q,
            .keys = keys.tensor(),
            .values = values.tensor(),
            .past = shape.past,
            .heads = shape.heads,
            .kv_heads = shape.kv_heads,
            .scale = 1 / std::sqrt(static_cast<float>(shape.head_dim))};
  }
};

Grid run(const Backend& backend, const Inputs& in) {
  TestContext context(backend);
  Grid out(in.shape.tokens * in.shape.heads, in.shape.head_dim, 24);
  op::attention(context, in.attention(), out);
  out.expect_gaps_untouched();
  return out;
}

// Of the largest value: queries, keys, weights and values are each rounded to bf16 by up to 2^-9. An f32 cache keeps f32 arithmetic.
constexpr double kBf16Limit = 1e-2;
bool in_bf16(const Backend& backend, const Case& c) {
  const cpu::Micro& micro = backend.micro ? *backend.micro : cpu::micro(*backend.isa);
  return (micro.attention_pairs || micro.attention_tiles) && c.keys != DType::kF32 && c.values != DType::kF32;
}

class AttentionTest : public ::testing::TestWithParam<Backend> {
 protected:
  // Caches of f32 also as bf16, which the paths of two neighbours per lane read in place.
  void expect_near(Case c, double limit) {
    expect_one_near(c, limit);
    if (c.keys != DType::kF32 || c.values != DType::kF32) return;
    c.keys = c.values = DType::kBF16;
    expect_one_near(c, limit);
  }
  void expect_one_near(const Case& c, double limit) {
    SCOPED_TRACE(::testing::Message() << c.tokens << " tokens after " << c.past << ", " << c.heads << "/" << c.kv_heads << " heads of "
                                      << c.head_dim << ", " << name(c.keys) << " keys, " << name(c.values) << " values");
    const Inputs in(c, random);
    EXPECT_LE(testing::relative_error(run(GetParam(), in), run(testing::reference_backend(), in)), in_bf16(GetParam(), c) ? kBf16Limit : limit);
  }
  Random random{11};
};
INSTANTIATE_TEST_SUITE_P(Cpu, AttentionTest, ::testing::ValuesIn(testing::backends_with_emulated_tiles()), testing::test_name);

TEST_P(AttentionTest, OneKeyGivesItsValue) {
  for (const DType type : {DType::kF32, DType::kBF16}) {
    const Inputs in({.tokens = 1, .past = 0, .heads = 4, .kv_heads = 2, .head_dim = 64, .keys = type, .values = type}, random);
    const Grid out = run(GetParam(), in);
    const std::vector<float> values = in.values.values();
    for (std::int64_t h = 0; h < 4; ++h)
      for (std::int64_t i = 0; i < 64; ++i) EXPECT_EQ(out.at(h, i), values[static_cast<std::size_t>(h / 2 * 64 + i)]);
  }
}

// Lengths around the blocks of 32, 128 and 512 keys, as one new token and as a prompt.
TEST_P(AttentionTest, EqualsTheReferenceAroundBlockEnds) {
  for (const std::int64_t keys : {1, 2, 15, 16, 17, 31, 32, 33, 127, 128, 129, 255, 257, 511, 512, 513, 1025}) {
    expect_near({.tokens = 1, .past = keys - 1, .heads = 2, .kv_heads = 1, .head_dim = 64}, 2e-6);
    if (keys > 1 && keys < 300) expect_near({.tokens = keys, .past = 0, .heads = 2, .kv_heads = 1, .head_dim = 64}, 2e-6);
    if (keys > 40) expect_near({.tokens = 39, .past = keys - 39, .heads = 2, .kv_heads = 1, .head_dim = 64}, 2e-6);
  }
}

TEST_P(AttentionTest, SharesKvHeadsAmongQueryHeads) {
  for (const std::int64_t group : {1, 2, 3, 6, 8, 33})
    for (const std::int64_t tokens : {1, 3, 70}) expect_near({.tokens = tokens, .past = 5, .heads = 2 * group, .kv_heads = 2, .head_dim = 64}, 2e-6);
}

TEST_P(AttentionTest, TakesHeadDimensionsOfSixteens) {
  for (const std::int64_t dim : {16, 48, 64, 80, 128, 256})
    for (const std::int64_t tokens : {1, 50}) expect_near({.tokens = tokens, .past = 100, .heads = 4, .kv_heads = 2, .head_dim = dim}, 2e-6);
}

TEST_P(AttentionTest, RefusesOtherHeadDimensions) {
  const Inputs in({.tokens = 1, .past = 0, .heads = 1, .kv_heads = 1, .head_dim = 24}, random);
  EXPECT_THROW(run(GetParam(), in), std::invalid_argument);
}

TEST_P(AttentionTest, ReadsEveryCacheType) {
  for (int i = 0; i < kDTypeCount; ++i) {
    const DType type = static_cast<DType>(i);
    for (const std::int64_t tokens : {1, 40}) {
      expect_near({.tokens = tokens, .past = 600, .heads = 4, .kv_heads = 2, .head_dim = 256, .keys = type, .values = type}, 3e-6);
      expect_near({.tokens = tokens, .past = 20, .heads = 4, .kv_heads = 2, .head_dim = 256, .keys = type, .values = DType::kQ4_0}, 3e-6);
    }
  }
}

// Four new tokens at the start of a split: the first three see nothing of it.
TEST_P(AttentionTest, JoinsSplitsThatARowSeesNothingOf) {
  for (const std::int64_t past : {509, 510, 511, 1021, 1535}) expect_near({.tokens = 4, .past = past, .heads = 2, .kv_heads = 1, .head_dim = 64}, 2e-6);
}

TEST_P(AttentionTest, StaysFiniteForHugeScores) {
  // The largest score takes all; two within rounding of each other cannot be told apart in f32, so only finiteness is asked for.
  for (const float q_scale : {1e4f, 1e20f, 3e37f})
    for (const std::int64_t tokens : {1, 40})
      for (const DType type : {DType::kF32, DType::kBF16}) {
        const Case c{.tokens = tokens, .past = 600, .heads = 2, .kv_heads = 1, .head_dim = 64, .keys = type, .values = type, .q_scale = q_scale};
        const Grid out = run(GetParam(), Inputs(c, random));
        for (std::int64_t r = 0; r < out.row_count(); ++r)
          for (std::int64_t i = 0; i < out.dim(); ++i) ASSERT_LE(std::fabs(out.at(r, i)), 5.0f) << "row " << r << ", scale " << q_scale;
      }
}

TEST_P(AttentionTest, NeverReadsPastTheRowsItSees) {
  for (const std::int64_t tokens : {1, 40})
    for (const DType type : {DType::kF32, DType::kBF16}) {
      const Case c{.tokens = tokens, .past = 100, .heads = 2, .kv_heads = 1, .head_dim = 64, .keys = type, .values = type};
      Inputs in(c, random);
      for (const Matrix* cache : {&in.keys, &in.values}) {
        const Tensor& tensor = *cache;
        for (std::int64_t r = 100 + tokens; r < tensor.rows(); ++r) std::fill_n(tensor.row(r), tensor.row_stride(), std::byte{0xff});  // NaN
      }
      EXPECT_LE(testing::relative_error(run(GetParam(), in), run(testing::reference_backend(), in)), in_bf16(GetParam(), c) ? kBf16Limit : 2e-6);
    }
}

TEST_P(AttentionTest, WritesTheCacheAsTheScalarQuantizerDoes) {
  for (int i = 0; i < kDTypeCount; ++i) {
    const DType type = static_cast<DType>(i);
    SCOPED_TRACE(name(type));
    const Grid x = Grid(5, 512, 16).fill(random, 3);
    Matrix found(type, 9, 512), wanted(type, 9, 512);
    TestContext context(GetParam()), reference(testing::reference_backend());
    op::kv_write(context, x, found.tensor(), 3);
    op::kv_write(reference, x, wanted.tensor(), 3);
    EXPECT_EQ(found.bytes(), wanted.bytes());
  }
}

TEST(AttentionThreads, DoNotChangeABit) {
  Random random{5};
  for (const std::int64_t tokens : {1, 4, 150, 300}) {
    const Inputs in({.tokens = tokens, .past = 1500, .heads = 8, .kv_heads = 2, .head_dim = 64, .keys = DType::kQ8_0}, random);
    for (Backend backend : testing::backends_with_emulated_tiles()) {
      const Backend alone = (backend.threads = 1, backend);
      backend.threads = 3;
      EXPECT_EQ(testing::relative_error(run(backend, in), run(alone, in)), 0) << name(alone);
    }
  }
}

// Blocks, strips and the maximum that a row carries are the same whatever tokens are beside it, and in which chunk of the cache.
TEST(AttentionTiles, GiveARowTheSameBitsWhateverItIsComputedBeside) {
  for (const Backend& backend : testing::backends_with_emulated_tiles()) {
    if (!(backend.micro ? backend.micro : &cpu::micro(*backend.isa))->attention_tiles) continue;
    Random random{5};
    const Inputs all({.tokens = 120, .past = 700, .heads = 6, .kv_heads = 2, .head_dim = 64, .keys = DType::kF16, .values = DType::kQ8_0}, random);
    const Grid whole = run(backend, all);
    for (const auto& [first, tokens] : {std::pair{0, 25}, {25, 70}, {95, 25}}) {
      Attention part = all.attention();
      part.q.data += first * 6 * part.q.stride, part.q.rows = tokens * 6, part.past += first;
      Grid out(tokens * 6, 64);
      TestContext context(backend);
      op::attention(context, part, out);
      for (std::int64_t r = 0; r < out.row_count(); ++r)
        for (std::int64_t i = 0; i < 64; ++i) ASSERT_EQ(out.at(r, i), whole.at(first * 6 + r, i)) << name(backend) << " row " << r;
    }
  }
}

// Scores that rise along the keys, so that what was accumulated shrinks within strips, blocks and chunks.
TEST(AttentionTiles, FollowAMaximumThatRises) {
  for (const Backend& backend : testing::backends_with_emulated_tiles()) {
    Random random{5};
    Inputs in({.tokens = 40, .past = 9000, .heads = 1, .kv_heads = 1, .head_dim = 64, .keys = DType::kF16, .values = DType::kF16}, random);
    std::vector<float> row(64);
    for (std::int64_t t = 0; t < 9040; ++t) {
      for (std::int64_t i = 0; i < 64; ++i) row[static_cast<std::size_t>(i)] = static_cast<float>(t / 64) * (i < 32 ? 0.25f : 0.125f);  // exact in bf16
      quantize_fn(DType::kF16)(row.data(), in.keys.tensor().row(t), 64);
    }
    in.q.set([](std::int64_t, std::int64_t i) { return i < 40 ? 0.5f : 0.25f; });
    const double limit = in_bf16(backend, in.shape) ? kBf16Limit : 2e-6;
    EXPECT_LE(testing::relative_error(run(backend, in), run(testing::reference_backend(), in)), limit) << name(backend);
  }
}

TEST(AttentionPath, NamesTheInstructionSet) {
  Random random{5};
  const Inputs in({.tokens = 1, .past = 0, .heads = 1, .kv_heads = 1, .head_dim = 16}, random);
  TestContext context({cpu_ops, cpu::Isa::kPortable, 1});
  Grid out(1, 16);
  op::attention(context, in.attention(), out);
  EXPECT_EQ(context.counters.paths.at("attention"), "portable-f32-split");
}

}  // namespace
}  // namespace crossover
