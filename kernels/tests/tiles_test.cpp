// Tiles: what their emulation does beside the manual, that the kernels over it are exact where sums are, and which machines offer them.
// Products of the kernels with ragged shapes are in panels_test.cpp.
#define CROSSOVER_ISA emulation
#define CROSSOVER_EMULATED_TILES
#include "kernels/cpu/tiles/tiles.h"
#undef CROSSOVER_ISA

#include "kernels/cpu/cpu_ops.h"
#include "kernels/formats/panels.h"
#include "kernels/tests/emulated_tiles.h"

namespace crossover {
namespace {

using namespace testing;
using cpu::emulation::TileConfig;
using cpu::emulation::Tiles;

TileConfig config_of(std::initializer_list<std::pair<int, int>> shapes) {
  TileConfig config;
  int i = 0;
  for (const auto& [rows, row_bytes] : shapes) config.rows[i] = static_cast<std::uint8_t>(rows), config.row_bytes[i++] = static_cast<std::uint16_t>(row_bytes);
  return config;
}

std::uint32_t pair_of(float first, float second) { return f32_to_bf16(first) | static_cast<std::uint32_t>(f32_to_bf16(second)) << 16; }

TEST(EmulatedTiles, MultiplyWhatIsConfiguredAndNoMore) {
  Tiles unit(config_of({{3, 20}, {3, 8}, {2, 20}}));  // 3 x 5 sums of 4 products
  const std::uint32_t a[3][2] = {{pair_of(1, 2), pair_of(3, 4)}, {pair_of(-1, 0), pair_of(0, 0.5f)}, {pair_of(100, 0), pair_of(0, 0)}};
  std::uint32_t b[2][5];
  for (int k = 0; k < 2; ++k)
    for (int n = 0; n < 5; ++n) b[k][n] = pair_of(static_cast<float>(10 * k + n), static_cast<float>(n - k));
  float sums[4][6];
  for (auto& row : sums)
    for (float& sum : row) sum = 7;
  unit.load<1>(a, 8), unit.load<2>(b, 20), unit.load<0>(sums, 24);
  unit.add_products<0, 1, 2>();
  unit.store<0>(sums, 24);
  for (int m = 0; m < 3; ++m)
    for (int n = 0; n < 5; ++n) {
      float expected = 7;
      for (int k = 0; k < 2; ++k)
        expected += bf16_to_f32(static_cast<std::uint16_t>(a[m][k])) * static_cast<float>(10 * k + n) + bf16_to_f32(static_cast<std::uint16_t>(a[m][k] >> 16)) * static_cast<float>(n - k);
      EXPECT_EQ(sums[m][n], expected) << m << " " << n;
    }
  for (int n = 0; n < 6; ++n) EXPECT_EQ(sums[3][n], 7);
  for (int m = 0; m < 3; ++m) EXPECT_EQ(sums[m][5], 7);
}

TEST(EmulatedTiles, WhatIsBelowTheNormalRangeIsZero) {
  Tiles unit(config_of({{1, 4}, {1, 4}, {1, 4}}));
  float sum = 0x1p-130f;
  const std::uint32_t a = pair_of(0x1p-100f, 1), b = pair_of(0x1p-30f, 0x1p-127f);
  unit.load<0>(&sum, 4), unit.load<1>(&a, 4), unit.load<2>(&b, 4);
  unit.add_products<0, 1, 2>();
  unit.store<0>(&sum, 4);
  EXPECT_EQ(sum, 0.0f);
}

TEST(EmulatedTiles, WhatFaultsTraps) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto configured = [](const TileConfig& given) { const Tiles unit(given); };
  TileConfig config = cpu::emulation::full_tiles();
  EXPECT_DEATH((config.palette = 2, configured(config)), "");
  EXPECT_DEATH((config.rows[3] = 17, configured(config)), "");
  EXPECT_DEATH((config.row_bytes[3] = 65, configured(config)), "");
  EXPECT_DEATH((config.rows[8] = 1, configured(config)), "");
  EXPECT_DEATH((config.reserved[2] = 1, configured(config)), "");
  EXPECT_DEATH(Tiles(config_of({{3, 20}})).zero<1>(), "");
  EXPECT_DEATH((Tiles(config_of({{3, 20}, {3, 8}, {3, 20}})).add_products<0, 1, 2>()), "");  // 2 pairs to a row, 3 rows of pairs
  EXPECT_DEATH((Tiles(config_of({{3, 20}, {4, 8}, {2, 20}})).add_products<0, 1, 2>()), "");
}

TEST(EmulatedTiles, KnownNumbersComeOutRight) {
  for (const EmulatedTiles& emulated : emulated_tiles()) {
    EXPECT_TRUE(emulated.tiles->work()) << emulated.variant;
    EXPECT_EQ(emulated.tiles->bf16.run(3), 0.0f);
  }
}

constexpr std::int64_t kExactRows = 45, kExactDim = 768;

// Small whole activations times weights that are whole numbers: nothing is rounded on the way, so every bit is known.
void expect_exact_products(const Tensor& weight, const std::vector<float>& values, std::int64_t tokens, Random& random) {
  Grid x(tokens, kExactDim, 3), out(tokens, kExactRows, 5);
  x.set([&](std::int64_t, std::int64_t) { return static_cast<float>(random() % 17) - 8.0f; });
  for (const EmulatedTiles& emulated : emulated_tiles()) {
    TestContext context({cpu_ops, emulated.micro.isa, 2, &emulated.micro, emulated.variant});
    cpu::matmul(context, x, weight, out);
    out.expect_gaps_untouched();
    EXPECT_EQ(context.counters.paths.at(std::string("matmul.") + name(weight.dtype)), weight.dtype == DType::kQ6_K ? "amx-bf16-panels" : "amx-bf16-rows");
    for (std::int64_t t = 0; t < tokens; ++t)
      for (std::int64_t n = 0; n < kExactRows; ++n) {
        std::int64_t expected = 0;
        for (std::int64_t k = 0; k < kExactDim; ++k)
          expected += static_cast<std::int64_t>(x.at(t, k)) * static_cast<std::int64_t>(values[static_cast<std::size_t>(n * kExactDim + k)]);
        ASSERT_EQ(out.at(t, n), static_cast<float>(expected)) << emulated.variant << " token " << t << " of " << tokens << " row " << n;
      }
  }
}

// All codes, scales of -8 .. 7.
TEST(EmulatedTiles, ProductsOfWholeNumbersInPanelsAreExact) {
  Random random(3);
  Matrix weight = Matrix(DType::kQ6_K, kExactRows, kExactDim).fill(random);
  for (std::int64_t at = 0; at < kExactRows * kExactDim / 256; ++at) {
    std::byte* block = weight.tensor().data + 210 * at;
    for (int g = 0; g < 16; ++g) block[192 + g] = static_cast<std::byte>(static_cast<std::int8_t>(random() % 16) - 8);
    block[208] = std::byte{0x00}, block[209] = std::byte{0x3c};
  }
  Tensor panels = weight.tensor();
  panels.layout = Layout::kPanels;
  std::vector<std::byte> bytes(static_cast<std::size_t>(panels.bytes()));
  panels.data = bytes.data();
  for (std::int64_t r = 0; r < kExactRows; r += kPanelRows)
    pack_panel(DType::kQ6_K, weight.tensor().row(r), 0, std::min(kPanelRows, kExactRows - r), kExactDim, panels.row(r));
  for (const std::int64_t tokens : {16, 31, 32, 33, 48, 79}) expect_exact_products(panels, weight.values(), tokens, random);
}

TEST(EmulatedTiles, ProductsOfWholeNumbersInRowsAreExact) {
  Random random(4);
  Matrix wide(DType::kBF16, kExactRows, kExactDim), coded(DType::kQ8_0, kExactRows, kExactDim);
  std::vector<float> values(static_cast<std::size_t>(kExactRows * kExactDim));
  for (float& value : values) value = static_cast<float>(random() % 255) - 127.0f;
  for (std::size_t i = 0; i < values.size(); i += 32) values[i] = 127.0f;  // a factor of 1
  for (const std::int64_t tokens : {32, 47, 64}) {
    expect_exact_products(wide.quantize(values).tensor(), values, tokens, random);
    expect_exact_products(coded.quantize(values).tensor(), values, tokens, random);
  }
}

TEST(Isa, AmxIsOfferedWhereNothingIsLackingAndRefusedByNameElsewhere) {
  EXPECT_EQ(cpu::parse_isa("amx"), cpu::Isa::kAmx);
  EXPECT_STREQ(cpu::name(cpu::Isa::kAmx), "amx");
  const std::vector<cpu::Isa> usable = cpu::usable_isas();
  const bool offered = std::find(usable.begin(), usable.end(), cpu::Isa::kAmx) != usable.end();
  EXPECT_TRUE(!offered || cpu::tiles_lacking() == nullptr);
  if (offered) {
    EXPECT_EQ(cpu::best_isa(), cpu::Isa::kAmx);
    EXPECT_NE(cpu::micro(cpu::Isa::kAmx).gemm_tiles, nullptr);
    return;
  }
  try {
    static_cast<void>(cpu::micro(cpu::Isa::kAmx));
    FAIL();
  } catch (const std::runtime_error& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("instruction set amx was asked for"), std::string::npos) << text;
    EXPECT_EQ(text.find('\n'), std::string::npos);
    const char* const lacking = cpu::tiles_lacking();
    EXPECT_NE(text.find(lacking ? lacking : "at most"), std::string::npos) << text;
  }
}

}  // namespace
}  // namespace crossover
