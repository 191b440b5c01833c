// f16 and bf16: decoding over every pattern, encoding around every rounding boundary there is, so nothing is left to
// sample.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "kernels/cpu/isa.h"
#include "kernels/cpu/micro.h"
#include "kernels/formats/formats.h"

namespace crossover {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The value by the definition of the format: sign, `exponent_bits`, the rest mantissa.
double value_of(unsigned bits, int exponent_bits) {
  const int mantissa_bits = 15 - exponent_bits, bias = (1 << (exponent_bits - 1)) - 1, last = (1 << exponent_bits) - 1;
  const int exponent = static_cast<int>(bits >> mantissa_bits) & last;
  const int mantissa = static_cast<int>(bits) & ((1 << mantissa_bits) - 1);
  double magnitude = std::ldexp(mantissa, 1 - bias - mantissa_bits);
  if (exponent == last)
    magnitude = mantissa ? std::nan("") : static_cast<double>(kInfinity);
  else if (exponent)
    magnitude = std::ldexp((1 << mantissa_bits) + mantissa, exponent - bias - mantissa_bits);
  return bits & 0x8000u ? -magnitude : magnitude;
}

struct Half {
  const char* name;
  int exponent_bits;
  float (*decode)(std::uint16_t);
  std::uint16_t (*encode)(float);
  unsigned infinity() const { return ((1u << exponent_bits) - 1) << (15 - exponent_bits); }
};
constexpr Half kHalves[] = {{"f16", 5, f16_to_f32, f32_to_f16}, {"bf16", 8, bf16_to_f32, f32_to_bf16}};

TEST(Half, DecodesEveryPattern) {
  for (const Half& half : kHalves)
    for (unsigned bits = 0; bits < 0x10000u; ++bits) {
      const double expected = value_of(bits, half.exponent_bits);
      const float found = half.decode(static_cast<std::uint16_t>(bits));
      ASSERT_EQ(std::isnan(found), std::isnan(expected)) << half.name << " " << bits;
      if (std::isnan(expected)) continue;
      ASSERT_EQ(static_cast<double>(found), expected) << half.name << " " << bits;
      ASSERT_EQ(std::signbit(found), std::signbit(expected)) << half.name << " " << bits;
    }
}

// Between neighbours a < b the boundary is their middle: it goes to the even one, the f32 below it to a, the one above
// to b. The neighbour of the largest finite value is taken as if the format went on: from its middle on, everything is
// infinity.
TEST(Half, EncodesToNearestEven) {
  for (const Half& half : kHalves)
    for (unsigned a = 0; a < half.infinity(); ++a) {
      const unsigned b = a + 1;
      const double low = value_of(a, half.exponent_bits);
      const double high =
          b < half.infinity() ? value_of(b, half.exponent_bits) : 2 * low - value_of(a - 1, half.exponent_bits);
      const float middle = static_cast<float>((low + high) / 2);
      ASSERT_EQ(static_cast<double>(middle), (low + high) / 2) << half.name << " " << a;
      for (const unsigned sign : {0u, 0x8000u}) {
        const auto encode = [&](float magnitude) {
          return static_cast<unsigned>(half.encode(sign ? -magnitude : magnitude));
        };
        ASSERT_EQ(encode(static_cast<float>(low)), sign | a) << half.name;
        ASSERT_EQ(encode(middle), sign | (a % 2 ? b : a)) << half.name;
        ASSERT_EQ(encode(std::nextafter(middle, 0.0f)), sign | a) << half.name;
        ASSERT_EQ(encode(std::nextafter(middle, kInfinity)), sign | b) << half.name;
      }
    }
}

TEST(Half, EncodesTheExtremes) {
  EXPECT_EQ(f32_to_f16(65504.0f), 0x7bff);
  EXPECT_EQ(f32_to_f16(std::nextafter(65520.0f, 0.0f)), 0x7bff);
  EXPECT_EQ(f32_to_f16(65520.0f), 0x7c00);
  EXPECT_EQ(f32_to_f16(-1e30f), 0xfc00);
  EXPECT_EQ(f32_to_f16(0x1p-25f), 0);
  EXPECT_EQ(f32_to_f16(std::numeric_limits<float>::denorm_min()), 0);
  EXPECT_EQ(f32_to_f16(-0.0f), 0x8000);
  EXPECT_EQ(f32_to_bf16(std::numeric_limits<float>::max()), 0x7f80);
  for (const Half& half : kHalves) {
    EXPECT_EQ(half.encode(kInfinity), half.infinity());
    EXPECT_EQ(half.encode(-kInfinity), 0x8000u | half.infinity());
    for (const std::uint32_t nan : {0x7f800001u, 0x7fffffffu, 0xff800001u, 0xffc00000u, 0x7fc12345u}) {
      const float back = half.decode(half.encode(std::bit_cast<float>(nan)));
      EXPECT_TRUE(std::isnan(back)) << half.name << " " << nan;
      EXPECT_EQ(std::signbit(back), nan >> 31 == 1) << half.name << " " << nan;
    }
  }
}

// Bits equal, NaNs included; every length up to three vectors, because the tail takes another path.
void expect_isas_agree(DType type, const std::vector<float>& values) {
  const int t = static_cast<int>(type);
  const std::int64_t count = static_cast<std::int64_t>(values.size());
  std::vector<std::uint16_t> expected(values.size()), found(values.size());
  std::vector<float> wide(values.size()), found_wide(values.size());
  quantize_fn(type)(values.data(), reinterpret_cast<std::byte*>(expected.data()), count);
  dequantize_fn(type)(reinterpret_cast<const std::byte*>(expected.data()), wide.data(), count);
  for (const cpu::Isa isa : cpu::usable_isas()) {
    const cpu::FormatsMicro& formats = *cpu::micro(isa).formats;
    formats.quantize[t](values.data(), reinterpret_cast<std::byte*>(found.data()), count);
    formats.dequantize[t](reinterpret_cast<const std::byte*>(expected.data()), found_wide.data(), count);
    ASSERT_EQ(found, expected) << name(type) << " " << cpu::name(isa) << ", " << count << " values";
    ASSERT_EQ(std::memcmp(found_wide.data(), wide.data(), values.size() * sizeof(float)), 0)
        << name(type) << " " << cpu::name(isa);
  }
}

TEST(Half, InstructionSetsEqualPlainLoops) {
  std::vector<float> values;  // a sweep over all f32 patterns, denser than one f16 step
  for (std::uint64_t bits = 0; bits < 0x100000000u; bits += 2039)
    values.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(bits)));
  for (const DType type : {DType::kF16, DType::kBF16}) {
    expect_isas_agree(type, values);
    for (std::size_t count = 1; count <= 48; ++count)
      expect_isas_agree(type, {values.end() - 700000, values.end() - 700000 + count});
  }
}

TEST(Half, InstructionSetsDecodeEveryPattern) {
  std::vector<std::uint16_t> patterns(0x10000);
  for (std::size_t i = 0; i < patterns.size(); ++i) patterns[i] = static_cast<std::uint16_t>(i);
  const auto* bytes = reinterpret_cast<const std::byte*>(patterns.data());
  std::vector<float> expected(patterns.size()), found(patterns.size());
  for (const DType type : {DType::kF16, DType::kBF16}) {
    dequantize_fn(type)(bytes, expected.data(), 0x10000);
    for (const cpu::Isa isa : cpu::usable_isas()) {
      cpu::micro(isa).formats->dequantize[static_cast<int>(type)](bytes, found.data(), 0x10000);
      EXPECT_EQ(std::memcmp(found.data(), expected.data(), 4 * expected.size()), 0)
          << name(type) << " " << cpu::name(isa);
    }
  }
}

}  // namespace
}  // namespace crossover
