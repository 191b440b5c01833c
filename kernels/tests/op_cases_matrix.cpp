#include "kernels/tests/op_cases.h"

namespace crossover::testing {
namespace {

// Against the dequantized weights in double. Block formats may meet activations rounded to int8 (a step of 1/127 of a block's
// largest value, so about 0.7 % of a dot product's spread, four of which lie within tolerance); the others stay in f32, but for bf16
// weights where the CPU multiplies pairs of bf16: there activations move by up to 2^-8 of themselves.
struct WeightType {
  DType dtype;
  double matmul, experts;
  double bf16_matmul() const { return dtype == DType::kBF16 ? 6e-3 : 0; }
  // A GPU rounds f16 weights to bf16 as well: a product moves by up to 2^-8, with a spread of 2^-10 of the dot product's, four of which fit.
  double device_matmul() const { return dtype == DType::kF16 ? 6e-3 : 0; }
  double bf16_experts() const { return std::max(experts, 1.5e-2); }  // these cases have a bf16 weight beside their own type
  // Two products one after the other, and what lies between and behind them rounded once more, by up to 2^-9.
  double device_experts() const { return dtype == DType::kF16 ? bf16_experts() : 0; }
};
constexpr WeightType kWeightTypes[] = {
    {DType::kF32, 4e-6, 1e-5},   {DType::kF16, 4e-6, 1e-5},   {DType::kBF16, 4e-6, 1e-5},
    {DType::kQ8_0, 1.5e-2, 3e-2}, {DType::kQ6_K, 1.5e-2, 3e-2}, {DType::kQ4_0, 1.5e-2, 3e-2},
    {DType::kQ4_1, 1.5e-2, 3e-2}, {DType::kQ5_0, 1.5e-2, 3e-2}, {DType::kQ5_1, 1.5e-2, 3e-2},
};

void add_embed_cases(std::vector<OpCase>& cases) {
  for (const WeightType& type : kWeightTypes)
    for (const std::int64_t first_row : {0, 100})
      cases.push_back({"embed", std::string(name(type.dtype)) + " rows from " + std::to_string(first_row), Metric::kEach, 0,
                       [=](Context& context) {
                         Random random(51);
                         const Matrix table = Matrix(type.dtype, 50, 512).fill(random);
                         std::vector<std::int32_t> ids = {0, 49, 50, 100, 149, 150, -1, 7, 2147483647};
                         for (int i = 0; i < 90; ++i) ids.push_back(static_cast<std::int32_t>(random() % 160));
                         Grid out(static_cast<std::int64_t>(ids.size()), 512, 3);
                         op::embed(context, table, first_row, ids, out);
                         return Result{{out}, {}, {}};
                       }});
}

struct Product {
  std::int64_t tokens, rows, cols;
  float scale = 1;
  int outliers = 0;  // activations a thousand times the others
};

std::vector<Product> products(bool blocks) {
  std::vector<Product> all;
  for (const std::int64_t tokens : kTokenCounts) all.push_back({tokens, 70, 512});
  for (const std::int64_t rows : {1, 2, 15, 31, 32, 33, 64, 257})
    for (const std::int64_t tokens : {1, 4, 20}) all.push_back({tokens, rows, 256});
  for (const std::int64_t tokens : {1, 3, 40}) {
    for (const float scale : {1e12f, 1e4f, 1e-4f, 1e-12f}) all.push_back({tokens, 64, 512, scale});
    all.push_back({tokens, 64, 512, 1, 3});
    all.push_back({tokens, 33, 0});
    all.push_back({tokens, 48, 2304});
    all.push_back({tokens, 48, 3584});
    if (!blocks)
      for (const std::int64_t cols : {1, 5, 17, 100, 333}) all.push_back({tokens, 37, cols});
  }
  all.push_back({0, 5, 256});
  all.push_back({5, 0, 256});
  return all;
}

// Tokens become rows of the weight: the few outputs there are do not cancel, so an error can be held against them.
void align(Grid& x, const Matrix& weight, float scale) {
  const std::vector<float> values = weight.values();
  const auto count = static_cast<std::int64_t>(values.size());
  if (count > 0) x.set([&](std::int64_t t, std::int64_t i) { return scale * values[static_cast<std::size_t>((t * x.dim() + i) % count)]; });
}

void add_matmul_cases(std::vector<OpCase>& cases) {
  for (const WeightType& type : kWeightTypes)
    for (const Product& p : products(is_block_format(type.dtype)))
      cases.push_back({"matmul",
                       std::string(name(type.dtype)) + " [" + std::to_string(p.rows) + ", " + std::to_string(p.cols) + "] by " + std::to_string(p.tokens) +
                           " tokens of scale " + std::to_string(p.scale) + (p.outliers ? " with outliers" : ""),
                       Metric::kOfLargest, type.matmul, [=](Context& context) {
                         Random random(61);
                         const Matrix weight = Matrix(type.dtype, p.rows, p.cols).fill(random, 0.05f);
                         Grid x = Grid(p.tokens, p.cols, 5).fill(random, p.scale), out(p.tokens, p.rows, 3);
                         if (p.rows < 15) align(x, weight, p.scale / 0.05f);
                         for (std::int64_t t = 0; t < p.tokens; ++t)
                           for (int i = 0; i < p.outliers; ++i) x.at(t, static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(p.cols))) *= 1000;
                         op::matmul(context, x, weight, out);
                         return Result{{out}, {}, {}};
                       }, type.bf16_matmul(), type.device_matmul()});
}

// A token whose activations are all zero among others, and rows of weights that are all zero.
void add_zero_matmul_cases(std::vector<OpCase>& cases) {
  for (const WeightType& type : kWeightTypes)
    for (const std::int64_t tokens : {1, 2, 40})
      cases.push_back({"matmul", std::string(name(type.dtype)) + " zeros in " + std::to_string(tokens) + " tokens", Metric::kOfLargest, type.matmul,
                       [=](Context& context) {
                         Random random(62);
                         std::vector<float> values(40 * 256);
                         for (std::size_t i = 0; i < values.size(); ++i) values[i] = i / 256 % 3 == 1 ? 0 : normal(random);
                         const Matrix weight = Matrix(type.dtype, 40, 256).quantize(values);
                         Grid x = Grid(tokens, 256).fill(random), out(tokens, 40);
                         for (std::int64_t i = 0; i < 256; ++i) x.at(tokens / 2, i) = 0;
                         op::matmul(context, x, weight, out);
                         return Result{{out}, {}, {}};
                       }, type.bf16_matmul(), type.device_matmul()});
}

// A gated pair, plain projections of the other types and widths beside it; the last is gated by an up of another type.
void add_projection_cases(std::vector<OpCase>& cases) {
  for (const WeightType& type : kWeightTypes)
    for (const std::int64_t tokens : {0, 1, 3, 15, 17, 65, 130})
      for (const std::int64_t rows : {0, 15, 33, 100}) {
        const std::int64_t cols = 512;
        cases.push_back({"matmuls", std::string(name(type.dtype)) + " of " + std::to_string(rows) + " rows by " + std::to_string(tokens) + " tokens", Metric::kOfLargest,
                         type.experts, [=](Context& context) {
                           Random random(63);
                           const auto matrix = [&](DType dtype, std::int64_t n) { return Matrix(dtype, n, cols).fill(random, 0.05f); };
                           const Matrix gate = matrix(type.dtype, rows), up = matrix(type.dtype, rows), plain = matrix(type.dtype, 70);
                           const Matrix single = matrix(DType::kF32, 1), mixed = matrix(DType::kBF16, 40), other = matrix(type.dtype, 40);
                           const Grid x = Grid(tokens, cols, 5).fill(random);
                           Grid inner(tokens, rows, 3), out(tokens, 70), one(tokens, 1, 1), unlike(tokens, 40, 2);
                           const Projection projections[] = {{gate, inner, up}, {plain, out}, {single, one}, {mixed, unlike, other}};
                           op::matmuls(context, x, projections);
                           return Result{{inner, out, one, unlike}, {}, {}};
                         }, type.bf16_experts()});
      }
}

enum class Logits { kRandom, kTies, kEqual, kHuge, kTiny };
constexpr const char* kLogitNames[] = {"random", "tied", "equal", "huge", "tiny"};

float logit(Logits kind, Random& random) {
  switch (kind) {
    case Logits::kRandom: return 3 * normal(random);
    case Logits::kTies: return static_cast<float>(random() % 4);
    case Logits::kEqual: return 0.25f;
    case Logits::kHuge: return 1e4f * normal(random);
    case Logits::kTiny: return 1e-6f * normal(random);
  }
  return 0;
}

void add_route_cases(std::vector<OpCase>& cases) {
  struct Router {
    std::int64_t experts, k;
  };
  for (const Router& router : {Router{1, 1}, {4, 2}, {4, 4}, {32, 8}, {256, 8}, {512, 10}, {61, 7}})
    for (const Logits kind : {Logits::kRandom, Logits::kTies, Logits::kEqual, Logits::kHuge, Logits::kTiny})
      for (const bool normalize : {false, true})
        for (const std::int64_t tokens : {1, 17, 65})
          cases.push_back({"moe_route",
                           std::to_string(router.k) + " of " + std::to_string(router.experts) + ", " + kLogitNames[static_cast<int>(kind)] +
                               (normalize ? ", normalized" : "") + ", " + std::to_string(tokens) + " tokens",
                           Metric::kEach, 4e-6, [=](Context& context) {
                             Random random(71);
                             Grid logits(tokens, router.experts, 4), weights(1, tokens * router.k);
                             logits.set([&](std::int64_t, std::int64_t) { return logit(kind, random); });
                             Result result;
                             result.ids.resize(static_cast<std::size_t>(tokens * router.k), -1);
                             op::moe_route(context, logits, router.k, normalize, result.ids, {weights.data(), result.ids.size()});
                             result.values.push_back(weights);
                             return result;
                           }});
}

enum class Spread { kEven, kOneExpert, kLastExperts };

struct Experts {
  std::int64_t tokens, experts, k, hidden, width;
  Spread spread = Spread::kEven;
};

// Distinct ids of one token in falling order, so that the ascending sum is not the order given.
Operand<std::int32_t> choose(const Experts& e, Random& random) {
  Operand<std::int32_t> ids;
  for (std::int64_t t = 0; t < e.tokens; ++t) {
    std::int64_t first = static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(e.experts));
    if (e.spread == Spread::kOneExpert) first = e.experts / 2;
    if (e.spread == Spread::kLastExperts) first = e.experts - 1;
    for (std::int64_t n = 0; n < e.k; ++n) ids.push_back(static_cast<std::int32_t>((first - n + e.experts) % e.experts));
  }
  return ids;
}

void add_expert_cases(std::vector<OpCase>& cases) {
  for (const WeightType& type : kWeightTypes) {
    std::vector<Experts> all;
    const std::int64_t n = info(type.dtype).block_values == 256 ? 256 : 64;
    for (const std::int64_t tokens : kTokenCounts) all.push_back({tokens, 6, 2, n, n});
    all.push_back({5, 32, 8, n, n});
    for (const std::int64_t tokens : {1, 5, 33}) {
      all.push_back({tokens, 6, 2, 2 * n, n, Spread::kLastExperts});
      all.push_back({tokens, 6, 1, n, 2 * n, Spread::kOneExpert});
      all.push_back({tokens, 4, 4, n, n});
      all.push_back({tokens, 6, 2, n, 0});
      if (!is_block_format(type.dtype)) all.push_back({tokens, 5, 3, 50, 19});
    }
    for (const Experts& e : all)
      cases.push_back({"moe_experts",
                       std::string(name(type.dtype)) + " " + std::to_string(e.k) + " of " + std::to_string(e.experts) + " of " + std::to_string(e.hidden) +
                           " x " + std::to_string(e.width) + ", " + std::to_string(e.tokens) + " tokens, spread " + std::to_string(static_cast<int>(e.spread)),
                       Metric::kOfLargest, type.experts, [=](Context& context) {
                         Random random(81);
                         const Matrix gate = Matrix(type.dtype, e.experts, e.width, e.hidden).fill(random, 0.1f);
                         const Matrix up = Matrix(type.dtype, e.experts, e.width, e.hidden).fill(random, 0.1f);
                         const Matrix down = Matrix(type.dtype, e.experts, e.hidden, e.width).fill(random, 0.1f);
                         const Grid x = Grid(e.tokens, e.hidden, 6).fill(random);
                         const Operand<std::int32_t> ids = choose(e, random);
                         Grid out(e.tokens, e.hidden, 2);
                         Operand<float> weights(ids.size());
                         for (float& weight : weights) weight = uniform(random, 0, 1);
                         op::moe_experts(context, {x, ids, weights, gate, up, down}, out);
                         return Result{{out}, {}, {}};
                       }, type.dtype == DType::kBF16 ? type.bf16_experts() : 0, type.device_experts()});
  }
}

}  // namespace

std::vector<OpCase> matrix_cases() {
  std::vector<OpCase> cases;
  add_embed_cases(cases);
  add_matmul_cases(cases);
  add_zero_matmul_cases(cases);
  add_projection_cases(cases);
  add_route_cases(cases);
  add_expert_cases(cases);
  return cases;
}

}  // namespace crossover::testing
