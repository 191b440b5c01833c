// Matrix products of the cpu backend against dot products in double of the dequantised weights.
#include "kernels/cpu/cpu_ops.h"
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

// The definition of int8 activations: per 32 values, scale = largest magnitude / 127, codes rounded to even.
std::vector<double> as_int8(const Grid& x) {
  std::vector<double> values;
  for (std::int64_t r = 0; r < x.row_count(); ++r)
    for (std::int64_t k = 0; k < x.dim(); k += 32) {
      float largest = 0;
      for (std::int64_t i = k; i < k + 32; ++i) largest = std::max(largest, std::fabs(x.at(r, i)));
      const float scale = largest / 127.0f, inverse = 1.0f / scale;
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

bool took_int8(const TestContext& context, DType dtype) {
  return context.counters.paths.at(std::string("matmul.") + name(dtype)).find("int8") != std::string::npos;
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
  const bool int8 = took_int8(context, dtype);
  expect_products(out, int8 ? as_int8(x) : as_double(x), weight.values(), shape.k, 2e-6);
  if (int8) expect_products(out, as_double(x), weight.values(), shape.k, 8e-3);
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
  for (const auto& [dtype, k] : {std::pair(DType::kQ6_K, 9472), std::pair(DType::kF32, 8200), std::pair(DType::kQ8_0, 4128)})
    for (const std::int64_t tokens : {3, 29}) check_shape(GetParam(), dtype, tokens, {35, k});
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
