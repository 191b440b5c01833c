// Rotations of KV caches: they are orthogonal, cost no accuracy in f32, and spread outliers before coarse quantization. And every
// pair of cache types, rotated or not.
#include "kernels/rotation.h"

#include <bit>

#include "kernels/tests/test_context.h"

namespace crossover {
namespace {

using testing::Backend;
using testing::Grid;
using testing::Matrix;
using testing::Random;
using testing::TestContext;

constexpr Rotation kRotations[] = {Rotation::kHadamard, Rotation::kSigned};
constexpr DType kCacheTypes[] = {DType::kF32, DType::kF16, DType::kBF16, DType::kQ8_0, DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ5_1};

std::vector<Backend> all_backends() {
  std::vector<Backend> backends = testing::tested_backends();
  backends.push_back(testing::reference_backend());
  return backends;
}

class RotationTest : public ::testing::TestWithParam<Backend> {
 protected:
  TestContext context{GetParam()};
  Random random{21};

  static double dot(const Grid& a, std::int64_t r, const Grid& b, std::int64_t s) {
    double sum = 0;
    for (std::int64_t i = 0; i < a.dim(); ++i) sum += static_cast<double>(a.at(r, i)) * b.at(s, i);
    return sum;
  }
};
INSTANTIATE_TEST_SUITE_P(Backends, RotationTest, ::testing::ValuesIn(all_backends()), testing::test_name);

TEST(RotationSigns, AreThoseOfTheSpecification) {
  int negative[2] = {};
  for (int v = 0; v < 2; ++v)
    for (const std::uint32_t word : kSignBits[v]) negative[v] += std::popcount(word);
  EXPECT_EQ(negative[0], 60);
  EXPECT_EQ(negative[1], 70);
  const std::string first = "-++--+-+--++++", second = "++++-++-+---+-";
  for (std::size_t i = 0; i < first.size(); ++i) {
    EXPECT_EQ(rotation_sign(0, static_cast<std::int64_t>(i)), first[i] == '-' ? -1 : 1);
    EXPECT_EQ(rotation_sign(1, static_cast<std::int64_t>(i)), second[i] == '-' ? -1 : 1);
  }
}

TEST(RotationNames, AreReadBack) {
  for (const Rotation rotation : {Rotation::kNone, Rotation::kHadamard, Rotation::kSigned}) EXPECT_EQ(parse_rotation(name(rotation)), rotation);
  EXPECT_EQ(parse_rotation("hadamard"), std::nullopt);
}

// Entry (i, j) of Sylvester's matrix is the parity of i & j.
TEST_P(RotationTest, HadamardOfAUnitVectorIsARowOfParities) {
  for (const std::int64_t j : {0, 1, 2, 15, 16, 77, 128, 255}) {
    Grid x = Grid(1, 256).set([&](std::int64_t, std::int64_t i) { return i == j ? 1.0f : 0.0f; });
    op::rotate(context, x, Rotation::kHadamard, false);
    for (std::int64_t i = 0; i < 256; ++i) ASSERT_EQ(x.at(0, i), std::popcount(static_cast<std::uint64_t>(i & j)) % 2 ? -0.0625f : 0.0625f) << i;
  }
}

TEST_P(RotationTest, SignedBlocksAreSignsAroundATransform) {
  Grid x = Grid(1, 256).set([](std::int64_t, std::int64_t i) { return i == 128 + 3 ? 2.0f : 0.0f; });
  op::rotate(context, x, Rotation::kSigned, false);
  for (std::int64_t i = 0; i < 128; ++i) {
    EXPECT_EQ(x.at(0, i), 0.0f);
    const float parity = std::popcount(static_cast<std::uint64_t>(i & 3)) % 2 ? -1.0f : 1.0f;
    EXPECT_NEAR(x.at(0, 128 + i), 2 * rotation_sign(0, 3) * parity * rotation_sign(1, i) / std::sqrt(128.0f), 1e-7);
  }
}

TEST_P(RotationTest, KeepsLengthsAndProductsAndTurnsBack) {
  for (const Rotation rotation : kRotations) {
    const Grid before = Grid(9, 256, 3).fill(random);
    Grid x = before;
    op::rotate(context, x, rotation, false);
    for (std::int64_t r = 0; r < 9; ++r)
      for (std::int64_t s = 0; s < 9; ++s) EXPECT_NEAR(dot(x, r, x, s), dot(before, r, before, s), 2e-4) << name(rotation);
    EXPECT_GT(testing::relative_error(x, before), 0.1);
    Grid back = x;
    op::rotate(context, back, rotation, true);
    EXPECT_LE(testing::relative_error(back, before), 1e-6) << name(rotation);
    if (rotation != Rotation::kHadamard) continue;
    op::rotate(context, x, rotation, false);  // its own inverse
    EXPECT_LE(testing::relative_error(x, before), 1e-6);
  }
}

// Keys and values as a model writes them, attended to by a few tokens.
struct Sequence {
  static constexpr std::int64_t kTokens = 45, kHeads = 4, kKvHeads = 2, kDim = 256, kWidth = kKvHeads * kDim;
  Grid keys, values, q;
  explicit Sequence(Random& random) : keys(kTokens, kWidth), values(kTokens, kWidth), q(kTokens * kHeads, kDim) {
    keys.fill(random), values.fill(random), q.fill(random);
  }
  // What real keys show: a few features of every head that are far larger than the others, in all tokens.
  void add_outliers() {
    for (Grid* grid : {&keys, &values})
      for (std::int64_t t = 0; t < kTokens; ++t)
        for (const std::int64_t feature : {3, 70, 131, 200, 259, 400}) grid->at(t, feature) *= 30;
  }
  // Results of the last `tokens` tokens.
  Grid attend(Context& context, DType key_type, DType value_type, Rotation key_rotation, Rotation value_rotation, std::int64_t tokens) const {
    const Matrix key_rows(key_type, kTokens + 2, kWidth), value_rows(value_type, kTokens + 2, kWidth);
    const KvCache key_cache(key_rows, key_rotation, kDim), value_cache(value_rows, value_rotation, kDim);
    op::kv_write(context, keys, key_cache, 0);
    op::kv_write(context, values, value_cache, 0);
    Grid out(tokens * kHeads, kDim, 1);
    const ConstRows all = q;
    op::attention(context, {all.slice((kTokens - tokens) * kHeads, tokens * kHeads), key_cache, value_cache, kTokens - tokens, kHeads, kKvHeads}, out);
    return out;
  }
};

double squared_error(const Grid& found, const Grid& wanted) {
  double error = 0, power = 0;
  for (std::int64_t r = 0; r < found.row_count(); ++r)
    for (std::int64_t i = 0; i < found.dim(); ++i) {
      error += std::pow(static_cast<double>(found.at(r, i)) - wanted.at(r, i), 2);
      power += std::pow(static_cast<double>(wanted.at(r, i)), 2);
    }
  return error / power;
}

TEST_P(RotationTest, ChangesNothingInAnF32Cache) {
  const Sequence sequence(random);
  for (const std::int64_t tokens : {std::int64_t{1}, Sequence::kTokens}) {
    const Grid plain = sequence.attend(context, DType::kF32, DType::kF32, Rotation::kNone, Rotation::kNone, tokens);
    for (const Rotation keys : kRotations)
      for (const Rotation values : kRotations)
        EXPECT_LE(testing::relative_error(sequence.attend(context, DType::kF32, DType::kF32, keys, values, tokens), plain), 3e-6)
            << name(keys) << ' ' << name(values);
  }
}

TEST_P(RotationTest, LowersTheErrorOfCoarseCachesWithOutliers) {
  Sequence sequence(random);
  sequence.add_outliers();
  for (const std::int64_t tokens : {std::int64_t{1}, Sequence::kTokens}) {
    const auto error = [&](DType keys, DType values, Rotation key_rotation, Rotation value_rotation) {
      const Grid exact = sequence.attend(context, DType::kF32, DType::kF32, Rotation::kNone, Rotation::kNone, tokens);
      return squared_error(sequence.attend(context, keys, values, key_rotation, value_rotation, tokens), exact);
    };
    for (const Rotation rotation : kRotations) {
      EXPECT_LT(error(DType::kQ4_0, DType::kF32, rotation, Rotation::kNone), error(DType::kQ4_0, DType::kF32, Rotation::kNone, Rotation::kNone) / 2);
      EXPECT_LT(error(DType::kF32, DType::kQ4_0, Rotation::kNone, rotation), error(DType::kF32, DType::kQ4_0, Rotation::kNone, Rotation::kNone));
    }
  }
}

// Against the reference, whose cache holds the same codes: written once, by the reference.
TEST_P(RotationTest, EveryPairOfCacheTypesEqualsTheReference) {
  const Sequence sequence(random);
  TestContext reference(testing::reference_backend());
  for (const DType key_type : kCacheTypes)
    for (const DType value_type : kCacheTypes)
      for (const Rotation rotation : {Rotation::kNone, Rotation::kHadamard}) {
        const Matrix keys(key_type, Sequence::kTokens, Sequence::kWidth), values(value_type, Sequence::kTokens, Sequence::kWidth);
        const KvCache key_cache(keys, rotation, Sequence::kDim), value_cache(values, rotation, Sequence::kDim);
        op::kv_write(reference, sequence.keys, key_cache, 0);
        op::kv_write(reference, sequence.values, value_cache, 0);
        const cpu::Micro* micro = context.context.micro;
        const bool rounds = micro && (micro->attention_pairs || micro->attention_tiles);
        const bool bf16 = rounds && key_type != DType::kF32 && value_type != DType::kF32;
        for (const std::int64_t tokens : {1, 20}) {
          Grid found(tokens * Sequence::kHeads, Sequence::kDim), wanted = found;
          const ConstRows q = static_cast<ConstRows>(sequence.q).slice(0, tokens * Sequence::kHeads);
          const Attention a{q, key_cache, value_cache, Sequence::kTokens - tokens, Sequence::kHeads, Sequence::kKvHeads};
          op::attention(context, a, found);
          op::attention(reference, a, wanted);
          EXPECT_LE(testing::relative_error(found, wanted), bf16 ? 1e-2 : 3e-6)
              << name(key_type) << " x " << name(value_type) << ", " << name(rotation) << ", " << tokens << " tokens";
        }
      }
}

}  // namespace
}  // namespace crossover
