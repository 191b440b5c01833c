// Matrix products of the cpu backend against dot products in double of the dequantised weights.
#include <cstring>

#include "kernels/cpu/cpu_ops.h"
#include "kernels/formats/formats.h"
#include "kernels/tests/test_context.h"

namespace crossover {
namespace {

using testing::Backend;
using testing::Grid;
using testing::Matrix;
using testing::Random;
using testing::TestContext;

constexpr DType kAllTypes[] = {DType::kF32,  DType::kF16,  DType::kBF16, DType::kQ8_0, DType::kQ6_K,
                               DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ5_1};
constexpr std::int64_t kTokenCounts[] = {1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 33, 63, 64, 65, 130};

struct Shape {
  std::int64_t n, k;
};

// Ragged rows for every tile; columns that end inside a vector where the type allows, inside 256 values for blocks of 32.
std::vector<Shape> shapes(DType dtype) {
  const std::int64_t block = info(dtype).block_values;
  if (block == 1) return {{1, 1}, {3, 37}, {33, 300}, {70, 64}};
  if (block == 32) return {{1, 32}, {33, 288}, {70, 96}};
  return {{1, 256}, {33, 512}, {70, 768}};
}

// The definition of integer activations: per 32 values, scale = largest magnitude / levels, codes rounded to even.
std::vector<double> as_integers(const Grid& x, float levels) {
  std::vector<double> values;
  for (std::int64_t r = 0; r < x.row_count(); ++r)
    for (std::int64_t k = 0; k < x.dim(); k += 32) {
      float largest = 0;
      for (std::int64_t i = k; i < k + 32; ++i) largest = std::max(largest, std::fabs(x.at(r, i)));
      const float scale = largest / levels, inverse = 1.0f / scale;
      for (std::int64_t i = k; i < k + 32; ++i)
        values.push_back(largest == 0 ? 0.0 : static_cast<double>(scale) * std::nearbyint(x.at(r, i) * inverse));
    }
  return values;
}

std::vector<double> as_double(const Grid& x) {
  std::vector<double> values;
  for (std::int64_t r = 0; r < x.row_count(); ++r)
    for (std::int64_t i = 0; i < x.dim(); ++i) values.push_back(x.at(r, i));
  return values;
}

std::vector<double> as_bf16(const Grid& x) {
  std::vector<double> values;
  for (std::int64_t r = 0; r < x.row_count(); ++r)
    for (std::int64_t i = 0; i < x.dim(); ++i) values.push_back(bf16_to_f32(f32_to_bf16(x.at(r, i))));
  return values;
}

// `tolerance` is relative to the sum of the magnitudes of the products.
void expect_products(const Grid& out, const std::vector<double>& x, const std::vector<float>& weight, std::int64_t k, double tolerance) {
  for (std::int64_t t = 0; t < out.row_count(); ++t)
    for (std::int64_t n = 0; n < out.dim(); ++n) {
      double dot = 0, magnitude = 0;
      for (std::int64_t i = 0; i < k; ++i) {
        const double product = x[static_cast<std::size_t>(t * k + i)] * weight[static_cast<std::size_t>(n * k + i)];
        dot += product, magnitude += std::fabs(product);
      }
      ASSERT_NEAR(out.at(t, n), dot, tolerance * magnitude + 1e-30) << "token " << t << " row " << n;
    }
}

// What the product of `dtype` makes of its activations, by what the result says it took; and how far a value may move, relative to the largest.
struct Activations {
  std::vector<double> values;
  double rounding;  // 0 for f32
};
Activations activations_of(const TestContext& context, DType dtype, const Grid& x) {
  const std::string& path = context.counters.paths.at(std::string("matmul.") + name(dtype));
  for (const auto& [part, levels] : {std::pair("int8", 127.0f), std::pair("int16", 16383.0f)})
    if (path.find(part) != std::string::npos) return {as_integers(x, levels), 1.0 / levels};
  if (path.find("bf16") != std::string::npos) return {as_bf16(x), 0x1p-8};
  return {as_double(x), 0.0};
}

// Codes at both ends: bytes 0x00 and 0xff from row to row, with scales of magnitude 1 (Q6_K: 127 and -128).
void extreme_row(const Tensor& weight, std::int64_t row) {
  const DTypeInfo& block = info(weight.dtype);
  const bool high = row % 2 != 0;
  for (std::int64_t b = 0; b < weight.cols() / block.block_values; ++b) {
    std::byte* p = weight.row(row) + b * block.block_bytes;
    std::fill_n(p, block.block_bytes, std::byte{static_cast<unsigned char>(high ? 0xff : 0x00)});
    if (weight.dtype == DType::kQ8_0) std::fill_n(p, block.block_bytes, std::byte{static_cast<unsigned char>(high ? 0x7f : 0x80)});
    const std::uint16_t one = 0x3c00;
    std::byte* scale = p;
    if (weight.dtype == DType::kQ6_K) {
      std::fill_n(p + 192, 16, std::byte{static_cast<unsigned char>(row < 2 ? 0x7f : 0x80)});
      scale = p + 208;
    }
    std::memcpy(scale, &one, sizeof one);
    if (weight.dtype == DType::kQ4_1 || weight.dtype == DType::kQ5_1) std::memcpy(p + 2, &one, sizeof one);
  }
}

class MatmulTest : public ::testing::TestWithParam<Backend> {};

void check_shape(const Backend& backend, DType dtype, std::int64_t tokens, Shape shape) {
  Random random(static_cast<std::uint64_t>(tokens * 1000 + shape.n));
  const Matrix weight = Matrix(dtype, shape.n, shape.k).fill(random, 0.1f);
  Grid x(tokens, shape.k, 5), out(tokens, shape.n, 3);
  x.fill(random);
  TestContext context(backend);
  cpu::matmul(context, x, weight, out);
  out.expect_gaps_untouched();
  const Activations taken = activations_of(context, dtype, x);
  expect_products(out, taken.values, weight.values(), shape.k, 2e-6);
  if (taken.rounding > 0) expect_products(out, as_double(x), weight.values(), shape.k, taken.rounding);
}

TEST_P(MatmulTest, EveryTypeAndRaggedShape) {
  for (const DType dtype : kAllTypes)
    for (const std::int64_t tokens : kTokenCounts)
      for (const Shape shape : shapes(dtype)) {
        SCOPED_TRACE(std::string(name(dtype)) + " tokens " + std::to_string(tokens) + " rows " + std::to_string(shape.n) + " columns " + std::to_string(shape.k));
        check_shape(GetParam(), dtype, tokens, shape);
        if (HasFatalFailure()) return;
      }
}

TEST_P(MatmulTest, DeeperThanOnePanel) {
  for (const auto& [dtype, k] : {std::pair(DType::kQ6_K, 9472), std::pair(DType::kF32, 8200), std::pair(DType::kBF16, 8237), std::pair(DType::kQ8_0, 8224),
                                 std::pair(DType::kQ4_1, 8256)})
    for (const std::int64_t tokens : {3, 29}) check_shape(GetParam(), dtype, tokens, {35, k});
}

// Every code at an end of its range and every activation at the same magnitude, signs alternating or not: the largest sums.
TEST_P(MatmulTest, IntegerSumsDoNotSaturate) {
  constexpr std::int64_t kRows = 4, kCols = 512;
  for (const DType dtype : {DType::kQ8_0, DType::kQ6_K, DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ5_1}) {
    Matrix weight(dtype, kRows, kCols);
    for (std::int64_t r = 0; r < kRows; ++r) extreme_row(weight.tensor(), r);
    for (const std::int64_t tokens : {1, 4, 20})
      for (const bool alternate : {false, true}) {
        Grid x(tokens, kCols), out(tokens, kRows);
        x.set([&](std::int64_t t, std::int64_t i) { return (alternate && (i + t) % 2 ? -1.0f : 1.0f) * (t % 2 ? -1.0f : 1.0f) * 127.0f; });
        TestContext context(GetParam());
        cpu::matmul(context, x, weight, out);
        expect_products(out, as_double(x), weight.values(), kCols, 2e-6);  // one magnitude: the largest code everywhere
      }
  }
}

TEST_P(MatmulTest, RowDoesNotDependOnItsNeighbours) {
  Random random(5);
  for (const DType dtype : kAllTypes) {
    const Matrix weight = Matrix(dtype, 70, 512).fill(random);
    for (const std::int64_t tokens : {7, 70}) {  // both paths, whatever the thresholds of a type
      Grid x(tokens, 512), out(tokens, 70);
      x.fill(random);
      TestContext context(GetParam());
      cpu::matmul(context, x, weight, out);
      const std::string path = context.counters.paths.begin()->second;
      for (std::int64_t first = 1; first < tokens; first += 3)
        for (const std::int64_t count : {1, 3, 30}) {
          if (first + count > tokens) continue;
          Grid part(count, 70);
          TestContext alone(GetParam());
          cpu::matmul(alone, static_cast<ConstRows>(x).slice(first, count), weight, part);
          if (alone.counters.paths.begin()->second != path) continue;
          for (std::int64_t t = 0; t < count; ++t)
            for (std::int64_t n = 0; n < 70; ++n) ASSERT_EQ(part.at(t, n), out.at(first + t, n)) << name(dtype) << " token " << first + t;
        }
    }
  }
}

TEST_P(MatmulTest, ThreadsDoNotChangeBits) {
  Random random(6);
  for (const DType dtype : kAllTypes)
    for (const std::int64_t tokens : {1, 3, 40}) {
      const Matrix weight = Matrix(dtype, 700, 512).fill(random);
      Grid x(tokens, 512), one(tokens, 700), out(tokens, 700);
      x.fill(random);
      TestContext single({reference_ops, GetParam().isa, 1}), context({reference_ops, GetParam().isa, GetParam().threads + 2});
      cpu::matmul(single, x, weight, one);
      cpu::matmul(context, x, weight, out);
      for (std::int64_t t = 0; t < tokens; ++t)
        for (std::int64_t n = 0; n < 700; ++n) ASSERT_EQ(one.at(t, n), out.at(t, n)) << name(dtype) << " tokens " << tokens;
    }
}

TEST_P(MatmulTest, NotANumberReachesItsRowOnly) {
  Random random(7);
  for (const DType dtype : kAllTypes)
    for (const std::int64_t tokens : {3, 30})
      for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
        const Matrix weight = Matrix(dtype, 5, 512).fill(random);
        Grid x(tokens, 512), out(tokens, 5);
        x.fill(random).at(1, 300) = bad;
        TestContext context(GetParam());
        cpu::matmul(context, x, weight, out);
        for (std::int64_t t = 0; t < tokens; ++t)
          for (std::int64_t n = 0; n < 5; ++n) ASSERT_EQ(std::isfinite(out.at(t, n)), t != 1) << name(dtype) << " token " << t;
      }
}

TEST_P(MatmulTest, ZerosAndDenormalsGiveZeros) {
  Random random(8);
  for (const DType dtype : kAllTypes)
    for (const std::int64_t tokens : {1, 20})
      for (const float value : {0.0f, 1e-44f}) {
        const Matrix weight = Matrix(dtype, 5, 256).fill(random);
        Grid x(tokens, 256), out(tokens, 5);
        x.set([&](std::int64_t, std::int64_t) { return value; });
        TestContext context(GetParam());
        cpu::matmul(context, x, weight, out);
        for (std::int64_t t = 0; t < tokens; ++t)
          for (std::int64_t n = 0; n < 5; ++n) ASSERT_NEAR(out.at(t, n), 0.0f, 1e-40f);
      }
}

TEST_P(MatmulTest, EmbedsRowsOfItsShardAndZerosElsewhere) {
  Random random(9);
  for (const DType dtype : kAllTypes) {
    const Matrix table = Matrix(dtype, 10, 256).fill(random);
    const std::vector<float> values = table.values();
    const std::vector<std::int32_t> ids = {100, 109, 99, 110, 104, -1, 104, 2147483647};
    Grid out(static_cast<std::int64_t>(ids.size()), 256, 3);
    TestContext context(GetParam());
    cpu::embed(context, table, 100, ids, out);
    out.expect_gaps_untouched();
    for (std::size_t t = 0; t < ids.size(); ++t)
      for (std::int64_t i = 0; i < 256; ++i) {
        const bool inside = ids[t] >= 100 && ids[t] < 110;
        ASSERT_EQ(out.at(static_cast<std::int64_t>(t), i), inside ? values[static_cast<std::size_t>((ids[t] - 100) * 256 + i)] : 0.0f);
      }
  }
}

INSTANTIATE_TEST_SUITE_P(Isas, MatmulTest, ::testing::ValuesIn([] {
                           std::vector<Backend> backends;
                           for (const cpu::Isa isa : cpu::usable_isas())
                             for (const int threads : {1, 2}) backends.push_back({reference_ops, isa, threads});
                           return backends;
                         }()),
                         testing::test_name);

}  // namespace
}  // namespace crossover
