// Weights in panels: packing loses nothing, every instruction set packs the same bytes, and products are those of the rows.
#include <gtest/gtest.h>

#include <array>

#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/multiply.h"
#include "kernels/formats/blocks.h"
#include "kernels/formats/formats.h"
#include "kernels/formats/panels.h"
#include "kernels/tests/emulated_tiles.h"

namespace crossover {
namespace {

using namespace testing;

std::vector<std::byte> random_blocks(Random& random, std::int64_t rows, std::int64_t dim) {
  std::vector<std::byte> bytes(static_cast<std::size_t>(rows * row_bytes(DType::kQ6_K, dim)));
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random() & 0xff);  // any bits are codes and scales, d may be anything
  return bytes;
}

TEST(Panels, PackingLosesNothing) {
  Random random(1);
  for (const std::int64_t rows : {1, 2, 15, 16, 17, 31, 32})
    for (const std::int64_t dim : {256, 768}) {
      const std::vector<std::byte> stored = random_blocks(random, rows, dim);
      const std::int64_t stride = row_bytes(DType::kQ6_K, dim);
      std::vector<std::byte> panel(static_cast<std::size_t>(kPanelRows * stride)), row(static_cast<std::size_t>(stride));
      pack_panel(DType::kQ6_K, stored.data(), 0, rows, dim, panel.data());
      for (std::int64_t r = 0; r < kPanelRows; ++r) {
        unpack_panel_row(DType::kQ6_K, panel.data(), r, dim, row.data());
        for (std::int64_t i = 0; i < stride; ++i)
          ASSERT_EQ(row[static_cast<std::size_t>(i)], r < rows ? stored[static_cast<std::size_t>(r * stride + i)] : std::byte{0}) << "row " << r << " byte " << i;
      }
    }
}

TEST(Panels, EveryInstructionSetPacksTheSameBytes) {
  Random random(2);
  for (const cpu::Isa isa : cpu::usable_isas())
    for (const auto& [first, rows] : {std::pair(0, 1), std::pair(0, 15), std::pair(0, 16), std::pair(0, 29), std::pair(0, 32), std::pair(3, 7), std::pair(12, 9), std::pair(16, 16), std::pair(31, 1)})
      for (const std::int64_t dim : {256, 1280}) {
        const std::vector<std::byte> stored = random_blocks(random, rows, dim);
        const auto bytes = static_cast<std::size_t>(kPanelRows * row_bytes(DType::kQ6_K, dim));
        std::vector<std::byte> expected(bytes), packed(bytes + 1, std::byte{0x5a});
        pack_panel(DType::kQ6_K, stored.data(), first, rows, dim, expected.data());
        cpu::micro(isa).panels->pack(stored.data(), first, rows, dim, packed.data());
        ASSERT_EQ(packed.back(), std::byte{0x5a});
        packed.pop_back();
        ASSERT_TRUE(packed == expected) << cpu::name(isa) << " rows " << rows << " dim " << dim;
      }
}

TEST(Panels, RowsCopiedInPartsAreThoseOfTheWhole) {
  Random random(3);
  const std::vector<std::byte> stored = random_blocks(random, 32, 512);
  const std::int64_t stride = row_bytes(DType::kQ6_K, 512);
  std::vector<std::byte> whole(static_cast<std::size_t>(kPanelRows * stride)), part(whole.size()), joined(whole.size(), std::byte{0x5a});
  pack_panel(DType::kQ6_K, stored.data(), 0, 32, 512, whole.data());
  for (const auto& [first, rows] : {std::pair(20, 12), std::pair(0, 3), std::pair(3, 16), std::pair(19, 1)}) {
    pack_panel(DType::kQ6_K, stored.data() + first * stride, first, rows, 512, part.data());
    copy_panel_rows(DType::kQ6_K, part.data(), first, rows, 512, joined.data());
  }
  EXPECT_TRUE(joined == whole);
}

TEST(Panels, OnlyTypesWithPanelsArePacked) {
  std::byte byte{};
  EXPECT_THROW(pack_panel(DType::kQ8_0, &byte, 0, 0, 0, &byte), std::invalid_argument);
}

// A copy of a matrix, packed.
class PanelMatrix {
 public:
  explicit PanelMatrix(const Tensor& rows) : tensor_(rows) {
    tensor_.layout = Layout::kPanels;
    bytes_.resize(static_cast<std::size_t>(tensor_.bytes()));
    tensor_.data = bytes_.data();
    for (std::int64_t e = 0; e < rows.experts(); ++e)
      for (std::int64_t r = 0; r < rows.rows(); r += kPanelRows)
        pack_panel(rows.dtype, rows.expert(e).row(r), 0, std::min(kPanelRows, rows.rows() - r), rows.cols(), tensor_.expert(e).row(r));
  }
  operator const Tensor&() const { return tensor_; }

 private:
  std::vector<std::byte> bytes_;
  Tensor tensor_;
};

class PanelProducts : public ::testing::TestWithParam<Backend> {};

// Sixteen values, by halves.
float sum_of_magnitudes(std::array<float, 16> x) {
  for (std::size_t half = 8; half > 0; half /= 2)
    for (std::size_t i = 0; i < half; ++i) x[i] += x[i + half];
  return x[0];
}

// Activations as int8 with one scale per 32 values, to the nearest code: the largest is 127 at most, and the magnitudes of 16 neighbours add up to
// 1015 at most before they are rounded, so 16 products with codes of -32 fit 16 bits even if each rounds up.
std::vector<double> rounded(const Grid& x) {
  std::vector<double> values;
  for (std::int64_t r = 0; r < x.row_count(); ++r)
    for (std::int64_t k = 0; k < x.dim(); k += 32) {
      float largest = 0, scale = 0;
      for (const std::int64_t group : {k, k + 16}) {
        std::array<float, 16> magnitudes;
        for (std::size_t i = 0; i < 16; ++i) {
          const float magnitude = std::fabs(x.at(r, group + static_cast<std::int64_t>(i)));
          largest = std::max(largest, magnitude), magnitudes[i] = magnitude * (1.0f / 1015.0f);
        }
        scale = std::max(scale, sum_of_magnitudes(magnitudes));
      }
      scale = std::max(scale, largest / 127.0f);
      const float inverse = 1.0f / scale;
      for (std::int64_t i = k; i < k + 32; ++i)
        values.push_back(largest == 0 ? 0.0 : static_cast<double>(scale) * std::nearbyint(x.at(r, i) * inverse));
    }
  return values;
}

// The same instruction set, one thread, and no tiles.
Backend plain_backend(const Backend& backend) {
  static const std::vector<cpu::Micro> plain = [] {
    std::vector<cpu::Micro> all;
    for (const cpu::Isa isa : cpu::usable_isas()) all.push_back(cpu::micro(isa)), all.back().gemm_tiles = nullptr;
    return all;
  }();
  const auto found = std::find_if(plain.begin(), plain.end(), [&](const cpu::Micro& micro) { return micro.isa == backend.isa; });
  return {cpu_ops, backend.isa, 1, &*found};
}

bool by_tiles(const Context& context, std::int64_t tokens) {
  return context.micro->gemm_tiles && tokens >= context.micro->gemm_tiles->from_tokens(DType::kQ6_K, Layout::kPanels, 256);
}

// What is multiplied: by tiles both operands as bf16, else the activations as above and the weights as they are.
std::vector<double> multiplied(const Context& context, const Grid& x) {
  if (!by_tiles(context, x.row_count())) return rounded(x);
  std::vector<double> values;
  for (std::int64_t r = 0; r < x.row_count(); ++r)
    for (std::int64_t k = 0; k < x.dim(); ++k) values.push_back(bf16_to_f32(f32_to_bf16(x.at(r, k))));
  return values;
}
// To bf16 by way of f16: factors below 2^-8 are rounded to 9 bits of mantissa, weights to 11 and then 8, in both cases ties away from zero
// but for the first; larger ones directly.
std::vector<float> widened(const Matrix& weight) {
  std::vector<float> values = weight.values();
  const auto away = [](std::uint32_t bits, std::uint32_t unit) { return (bits + unit / 2) & ~(unit - 1); };
  const auto* block = reinterpret_cast<const BlockQ6_K*>(weight.bytes().data());
  for (std::size_t first = 0; first < values.size(); first += 16) {
    const BlockQ6_K& of = block[first / 256];
    const float d = f16_to_f32(of.d), factor = d * static_cast<float>(of.scales[first / 16 % 16]);
    for (std::size_t i = first; i < first + 16; ++i) {
      if (std::fabs(d) < 0x1p-8f) {
        const float code = factor == 0 ? 0 : std::nearbyint(values[i] / factor);
        const float rounded = f16_to_f32(static_cast<std::uint16_t>(away(f32_to_f16(factor * 1024), 4)));
        values[i] = f16_to_f32(static_cast<std::uint16_t>(away(f32_to_f16(code * rounded), 8))) / 1024;
      } else {
        values[i] = __builtin_bit_cast(float, away(__builtin_bit_cast(std::uint32_t, values[i]), 1 << 16));
      }
    }
  }
  return values;
}

std::vector<float> multiplied(const Context& context, const Matrix& weight, std::int64_t tokens) {
  return by_tiles(context, tokens) ? widened(weight) : weight.values();
}

// Tiles sum in f32: 16 pairs at a time, so up to 16 + dim / 32 roundings of 2^-24; the others do so once for 32 values.
void expect_products(const Context& context, const Grid& out, const Grid& activations, const Matrix& matrix) {
  const std::int64_t dim = activations.dim();
  const std::vector<double> x = multiplied(context, activations);
  const std::vector<float> weight = multiplied(context, matrix, activations.row_count());
  const double tolerance = by_tiles(context, activations.row_count()) ? static_cast<double>(20 + dim / 32) * 0x1p-24 : 2e-6;
  for (std::int64_t t = 0; t < out.row_count(); ++t)
    for (std::int64_t n = 0; n < out.dim(); ++n) {
      double dot = 0, magnitude = 0;
      for (std::int64_t i = 0; i < dim; ++i) {
        const double product = x[static_cast<std::size_t>(t * dim + i)] * weight[static_cast<std::size_t>(n * dim + i)];
        dot += product, magnitude += std::fabs(product);
      }
      ASSERT_NEAR(out.at(t, n), dot, tolerance * magnitude + 1e-30) << "token " << t << " row " << n;
    }
}

TEST_P(PanelProducts, AreThoseOfTheRoundedOperands) {
  for (const std::int64_t tokens : {1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 33, 63, 64, 65})
    for (const auto& [rows, dim] : {std::pair(1, 256), std::pair(33, 512), std::pair(70, 768), std::pair(64, 5120)}) {
      if (dim == 5120 && tokens % 16 != 1) continue;
      Random random(static_cast<std::uint64_t>(tokens * 1000 + rows));
      // Factors below the normal numbers of f16, as usual, and beyond what tiles take as f16.
      const Matrix weight = Matrix(DType::kQ6_K, rows, dim).fill(random, rows == 33 ? 1e-5f : rows == 70 ? 100.0f : 0.1f);
      Grid x(tokens, dim, 5), out(tokens, rows, 3);
      x.fill(random);
      TestContext context(GetParam());
      cpu::matmul(context, x, PanelMatrix(weight), out);
      out.expect_gaps_untouched();
      EXPECT_NE(context.counters.paths.at("matmul.q6_k").find("panels"), std::string::npos);
      EXPECT_EQ(context.counters.paths.at("matmul.q6_k") == "amx-bf16-panels", by_tiles(context, tokens));
      expect_products(context, out, x, weight);
      if (HasFatalFailure()) FAIL() << "tokens " << tokens << " rows " << rows << " dim " << dim;
    }
}

// Values of about one magnitude, which rounding may carry past the limit of 16 bits; weights of the largest magnitude meet them sign for sign.
TEST_P(PanelProducts, SumsOfSixteenFitSixteenBits) {
  Random random(12);
  constexpr std::int64_t kTokens = 24, kDim = 1024;
  Matrix weight(DType::kQ6_K, 3, kDim);
  std::fill_n(weight.tensor().row(0), weight.tensor().bytes(), std::byte{0});
  for (std::int64_t r = 0; r < 3; ++r)
    for (std::int64_t b = 0; b < kDim / 256; ++b) {
      std::byte* p = weight.tensor().row(r) + b * 210;
      std::fill_n(p, 192, std::byte{static_cast<unsigned char>(r == 2 ? 0xff : 0x00)});
      std::fill_n(p + 192, 16, std::byte{static_cast<unsigned char>(r == 1 ? 0x80 : 0x7f)});
      p[209] = std::byte{0x3c};
    }
  for (const float least : {0.0f, 0.3f, 0.45f, 0.499f, 0.9f, 0.996f, 1.0f}) {
    Grid x(kTokens, kDim), out(kTokens, 3);
    x.set([&](std::int64_t t, std::int64_t) { return (t % 2 ? -1.0f : 1.0f) * (least + (1.0f - least) * static_cast<float>(random() % 1000) / 999.0f); });
    TestContext context(GetParam());
    cpu::matmul(context, x, PanelMatrix(weight), out);
    expect_products(context, out, x, weight);
    if (HasFatalFailure()) FAIL() << "magnitudes from " << least;
  }
}

// Codes and scales at both ends of their ranges, all activations of one magnitude: the largest sums.
TEST_P(PanelProducts, DoNotSaturate) {
  constexpr std::int64_t kRows = 8, kDim = 512;
  Matrix weight(DType::kQ6_K, kRows, kDim);
  for (std::int64_t r = 0; r < kRows; ++r)
    for (std::int64_t b = 0; b < kDim / 256; ++b) {
      std::byte* p = weight.tensor().row(r) + b * 210;
      std::fill_n(p, 192, std::byte{static_cast<unsigned char>(r % 2 ? 0xff : 0x00)});
      std::fill_n(p + 192, 16, std::byte{static_cast<unsigned char>(r % 4 < 2 ? 0x7f : 0x80)});
      p[208] = std::byte{0x00}, p[209] = std::byte{0x3c};
    }
  for (const std::int64_t tokens : {1, 4, 20, 50})
    for (const int pattern : {0, 1, 2}) {
      Grid x(tokens, kDim), out(tokens, kRows);
      x.set([&](std::int64_t t, std::int64_t i) { return (t % 2 ? -127.0f : 127.0f) * (pattern == 1 && i % 2 ? -1.0f : pattern == 2 && i % 4 > 1 ? -1.0f : 1.0f); });
      TestContext context(GetParam());
      cpu::matmul(context, x, PanelMatrix(weight), out);
      expect_products(context, out, x, weight);
    }
}

TEST_P(PanelProducts, DoNotDependOnNeighboursOrThreads) {
  Random random(5);
  const Matrix rows = Matrix(DType::kQ6_K, 150, 4608).fill(random);
  const PanelMatrix weight(rows);
  Grid x(70, 4608), out(70, 150);
  x.fill(random);
  TestContext context(GetParam()), without_tiles(plain_backend(GetParam()));
  cpu::matmul(context, x, weight, out);
  Grid integers(70, 150);
  for (std::int64_t t = 0; t < 70; t += 14) cpu::matmul(without_tiles, static_cast<ConstRows>(x).slice(t, 14), weight, static_cast<Rows>(integers).slice(t, 14));
  for (const std::int64_t count : {1, 3, 4, 6, 30, 33, 47, 64})
    for (std::int64_t first = 0; first + count <= 70; first += 13) {
      Grid part(count, 150);
      Backend backend = GetParam();
      backend.threads += 2;
      TestContext other(backend);
      cpu::matmul(other, static_cast<ConstRows>(x).slice(first, count), weight, part);
      for (std::int64_t t = 0; t < count; ++t)
        for (std::int64_t n = 0; n < 150; ++n) ASSERT_EQ(part.at(t, n), (by_tiles(other, count) ? out : integers).at(first + t, n)) << "token " << first + t << " of " << count;
    }
}

TEST_P(PanelProducts, NotANumberReachesItsRowOnly) {
  Random random(7);
  for (const std::int64_t tokens : {3, 30, 40})
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
      const Matrix weight = Matrix(DType::kQ6_K, 5, 512).fill(random);
      Grid x(tokens, 512), out(tokens, 5);
      x.fill(random).at(1, 300) = bad;
      TestContext context(GetParam());
      cpu::matmul(context, x, PanelMatrix(weight), out);
      for (std::int64_t t = 0; t < tokens; ++t)
        for (std::int64_t n = 0; n < 5; ++n) ASSERT_EQ(std::isfinite(out.at(t, n)), t != 1) << "token " << t;
    }
}

// Experts: rows found by index, several operands over the same rows, gate and up in one task.
TEST_P(PanelProducts, OfGatheredRowsEqualThoseOfTheRowsThemselves) {
  Random random(8);
  const Matrix gate = Matrix(DType::kQ6_K, 4, 40, 512).fill(random, 0.1f), up = Matrix(DType::kQ6_K, 4, 40, 512).fill(random, 0.1f);
  const PanelMatrix gate_panels(gate), up_panels(up);
  Grid x(50, 512, 7);
  x.fill(random);
  std::vector<std::int32_t> most;
  for (std::int32_t i = 0; i < 37; ++i) most.push_back(i * 13 % 50);
  const std::vector<std::int32_t> index[4] = {{4}, most, {}, {29, 0, 7, 7, 12, 1, 2, 3, 5, 6, 8, 9, 10, 11, 13, 14, 15, 20}};
  std::vector<cpu::Operand> operands;
  std::vector<cpu::Product> products;
  std::vector<Grid> outs;
  for (const auto& rows : index) outs.emplace_back(static_cast<std::int64_t>(rows.size()), 40, 2);
  for (std::size_t e = 0; e < 4; ++e) {
    operands.push_back({x, static_cast<std::int64_t>(index[e].size()), index[e].data()});
    const Tensor& g = gate_panels;
    const Tensor& u = up_panels;
    products.push_back({e, g.expert(static_cast<std::int64_t>(e)), outs[e], u.expert(static_cast<std::int64_t>(e))});
  }
  TestContext context(GetParam());
  cpu::multiply(context, operands, products);
  for (std::size_t e = 0; e < 4; ++e) {
    const auto expert = static_cast<std::int64_t>(e);
    Grid all(50, 40), all_up(50, 40);
    TestContext other = by_tiles(context, static_cast<std::int64_t>(index[e].size())) ? TestContext(GetParam()) : TestContext(plain_backend(GetParam()));
    cpu::matmul(other, x, PanelMatrix(gate.tensor().expert(expert)), all);
    cpu::matmul(other, x, PanelMatrix(up.tensor().expert(expert)), all_up);
    for (std::size_t i = 0; i < index[e].size(); ++i)
      for (std::int64_t n = 0; n < 40; ++n) {
        const float g = all.at(index[e][i], n), u = all_up.at(index[e][i], n);
        ASSERT_NEAR(outs[e].at(static_cast<std::int64_t>(i), n), g / (1 + std::exp(-g)) * u, 1e-5f * std::fabs(g * u) + 1e-12f);
      }
  }
}

TEST_P(PanelProducts, RowsOfATableInPanelsAreEmbedded) {
  Random random(9);
  const Matrix table = Matrix(DType::kQ6_K, 45, 512).fill(random);
  const std::vector<std::int32_t> ids = {100, 144, 99, 145, 131, 132, 100};
  Grid expected(static_cast<std::int64_t>(ids.size()), 512), out(static_cast<std::int64_t>(ids.size()), 512, 3);
  TestContext context(GetParam());
  cpu::embed(context, table, 100, ids, expected);
  cpu::embed(context, PanelMatrix(table), 100, ids, out);
  for (std::int64_t t = 0; t < expected.row_count(); ++t)
    for (std::int64_t i = 0; i < 512; ++i) ASSERT_EQ(out.at(t, i), expected.at(t, i));
}

INSTANTIATE_TEST_SUITE_P(Isas, PanelProducts, ::testing::ValuesIn(backends_with_emulated_tiles()), test_name);

// Integer sums are exact and the rest is done in one order, so instruction sets with fused multiply-add agree to the bit, and so do the ways
// to read panels, whatever CPU this is.
TEST(Panels, InstructionSetsAndWaysToReadAgree) {
  std::vector<cpu::Micro> micros;
  for (const cpu::Isa isa : cpu::usable_isas()) {
    if (isa == cpu::Isa::kPortable) continue;
    const auto add = [&](const cpu::PanelMicro* panels) {
      micros.push_back(cpu::micro(isa));
      micros.back().panels = panels, micros.back().gemm_tiles = nullptr;
    };
#if defined(__x86_64__)
    if (isa == cpu::Isa::kAvx2) add(&cpu::avx2::panels);
    if (isa == cpu::Isa::kAvx512) add(&cpu::avx512::panels), add(&cpu::avx512::prefetched_panels);
    if (isa == cpu::Isa::kAvx512Bf16) add(&cpu::avx512bf16::panels), add(&cpu::avx512bf16::prefetched_panels);
#endif
  }
  Random random(10);
  for (const std::int64_t tokens : {1, 2, 4, 9})
    for (const std::int64_t rows : {1, 32, 37, 64, 65, 150, 300}) {
      const Matrix weight = Matrix(DType::kQ6_K, rows, 1024).fill(random);
      Grid x(tokens, 1024);
      x.fill(random);
      std::optional<Grid> first;
      for (const cpu::Micro& micro : micros) {
        TestContext context({cpu_ops, micro.isa, 1, &micro});
        Grid out(tokens, rows, 3);
        cpu::matmul(context, x, PanelMatrix(weight), out);
        out.expect_gaps_untouched();
        if (!first) first = out;
        for (std::int64_t t = 0; t < tokens; ++t)
          for (std::int64_t n = 0; n < rows; ++n)
            ASSERT_EQ(out.at(t, n), first->at(t, n)) << cpu::name(micro.isa) << ", " << (&micro - micros.data()) << ": token " << t << " of " << tokens << ", row " << n << " of " << rows;
      }
    }
}

}  // namespace
}  // namespace crossover
