// Block formats: bytes and weights against ggml's (tests/data/formats holds every 24th Q6_K block and every 16th small
// block of the golden data), then every instruction set against the plain loops on input made to break them.
#include "kernels/formats/formats.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "kernels/cpu/isa.h"
#include "kernels/cpu/micro.h"
#include "kernels/tests/format_inputs.h"

namespace crossover {
namespace {

using namespace testing;

constexpr std::byte kCanary{0xa5};
constexpr std::int64_t kCanaryBytes = 64;

struct Expected {
  DType type;
  const char* input;
  std::uint64_t small_hash, golden_hash;  // FNV-1a of ggml's dequantised floats: committed blocks, golden data
};
constexpr Expected kExpected[] = {
    {DType::kQ6_K, "super", 0xeffc5848a2d384b6u, 0x0fbd394093bddc51u},
    {DType::kQ8_0, "small", 0x53c5f11f3fff2c31u, 0x1c8a44e42c0955f8u},
    {DType::kQ4_0, "small", 0x0deecc4ea31c54bdu, 0x88e41f92c061899bu},
    {DType::kQ4_1, "small", 0x861431424d1c8fc0u, 0x13c001e581b0829au},
    {DType::kQ5_0, "small", 0xccbf7bde83e3a4ecu, 0xae66be0a93db5259u},
    {DType::kQ5_1, "small", 0x7e63ab09bc5bc98bu, 0x201a87f5a88d8f3bu},
};

std::uint64_t fnv1a(const std::vector<float>& values) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (const float value : values)
    for (int shift = 0; shift < 32; shift += 8)
      hash = (hash ^ (std::bit_cast<std::uint32_t>(value) >> shift & 0xffu)) * 0x100000001b3u;
  return hash;
}

std::string hex(const std::byte* bytes, std::int64_t count) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (std::int64_t i = 0; i < count; ++i) {
    text += kDigits[static_cast<unsigned>(bytes[i]) >> 4];
    text += kDigits[static_cast<unsigned>(bytes[i]) & 15];
  }
  return text;
}

std::vector<std::byte> quantized(QuantizeFn convert, DType type, const std::vector<float>& values) {
  const std::int64_t count = static_cast<std::int64_t>(values.size()), bytes = row_bytes(type, count);
  std::vector<std::byte> out(static_cast<std::size_t>(bytes + kCanaryBytes), kCanary);
  convert(values.data(), out.data(), count);
  for (std::int64_t i = bytes; i < bytes + kCanaryBytes; ++i) EXPECT_EQ(out[i], kCanary) << "wrote past the row";
  out.resize(static_cast<std::size_t>(bytes));
  return out;
}

std::vector<float> dequantized(DequantizeFn convert, const std::vector<std::byte>& bytes, std::int64_t values) {
  constexpr float kCanaryValue = 12345.0f;
  std::vector<float> out(static_cast<std::size_t>(values) + 16, kCanaryValue);
  convert(bytes.data(), out.data(), values);
  for (int i = 0; i < 16; ++i) EXPECT_EQ(out[values + i], kCanaryValue) << "wrote past the row";
  out.resize(static_cast<std::size_t>(values));
  return out;
}

// The first differing block only: one is enough to see what is wrong.
void expect_same_blocks(DType type, const std::vector<std::byte>& found, const std::vector<std::byte>& expected,
                        const std::string& what) {
  ASSERT_EQ(found.size(), expected.size()) << what;
  const std::int64_t block = info(type).block_bytes, blocks = static_cast<std::int64_t>(found.size()) / block;
  std::int64_t different = 0, first = -1;
  for (std::int64_t b = blocks - 1; b >= 0; --b)
    if (std::memcmp(found.data() + b * block, expected.data() + b * block, block) != 0) ++different, first = b;
  EXPECT_EQ(different, 0) << what << ": " << different << " of " << blocks << " blocks differ; block " << first
                          << "\nfound    " << hex(found.data() + first * block, block) << "\nexpected "
                          << hex(expected.data() + first * block, block);
}

// Bits equal, or both NaN: which NaN comes out of two is the compiler's choice of operand order.
void expect_same_floats(const std::vector<float>& found, const std::vector<float>& expected, const std::string& what) {
  ASSERT_EQ(found.size(), expected.size()) << what;
  for (std::size_t i = 0; i < found.size(); ++i) {
    if (std::isnan(found[i]) && std::isnan(expected[i])) continue;
    ASSERT_EQ(std::bit_cast<std::uint32_t>(found[i]), std::bit_cast<std::uint32_t>(expected[i])) << what << " at " << i;
  }
}

void check_against_ggml(const std::string& folder, const Expected& expected, std::uint64_t hash, QuantizeFn quantize,
                        DequantizeFn dequantize) {
  const std::vector<float> input = read_floats(folder + "/" + expected.input + ".f32");
  const std::vector<std::byte> bytes = read_file(folder + "/" + name(expected.type) + ".bin");
  ASSERT_FALSE(input.empty()) << folder;
  expect_same_blocks(expected.type, quantized(quantize, expected.type, input), bytes, name(expected.type));
  EXPECT_EQ(fnv1a(dequantized(dequantize, bytes, static_cast<std::int64_t>(input.size()))), hash)
      << name(expected.type);
}

void check_all_against_ggml(const std::string& folder, std::uint64_t Expected::*hash) {
  for (const Expected& expected : kExpected) {
    SCOPED_TRACE("plain loops");
    check_against_ggml(folder, expected, expected.*hash, quantize_fn(expected.type), dequantize_fn(expected.type));
    for (const cpu::Isa isa : cpu::usable_isas()) {
      SCOPED_TRACE(cpu::name(isa));
      const cpu::FormatsMicro& formats = *cpu::micro(isa).formats;
      const int index = static_cast<int>(expected.type);
      check_against_ggml(folder, expected, expected.*hash, formats.quantize[index], formats.dequantize[index]);
    }
  }
}

TEST(Formats, CommittedBlocksEqualGgml) {
  check_all_against_ggml(CROSSOVER_SOURCE_DIR "/kernels/tests/data/formats", &Expected::small_hash);
}

TEST(Formats, GoldenBlocksEqualGgml) {
  const char* golden = std::getenv("CROSSOVER_GOLDEN");
  if (!golden) GTEST_SKIP() << "CROSSOVER_GOLDEN names no folder of golden data";
  check_all_against_ggml(std::string(golden) + "/quant", &Expected::golden_hash);
}

TEST(Formats, InstructionSetsEqualPlainLoops) {
  for (const Adversary& adversary : kAdversaries) {
    const std::vector<float> values = adversarial_values(adversary, 200);
    ASSERT_EQ(first_not_finite(values.data(), static_cast<std::int64_t>(values.size())), -1) << adversary.name;
    for (int t = 0; t < kDTypeCount; ++t) {
      const DType type = static_cast<DType>(t);
      const std::vector<std::byte> bytes = quantized(quantize_fn(type), type, values);
      const std::vector<float> weights =
          dequantized(dequantize_fn(type), bytes, static_cast<std::int64_t>(values.size()));
      for (const cpu::Isa isa : cpu::usable_isas()) {
        const std::string what = std::string(adversary.name) + " " + name(type) + " " + cpu::name(isa);
        const cpu::FormatsMicro& formats = *cpu::micro(isa).formats;
        expect_same_blocks(type, quantized(formats.quantize[t], type, values), bytes, what);
        expect_same_floats(dequantized(formats.dequantize[t], bytes, static_cast<std::int64_t>(values.size())), weights,
                           what);
      }
    }
  }
}

// Any bytes are a valid block: a file may hold what no quantizer writes. Blocks start at odd addresses, as in a mapped
// file.
TEST(Formats, InstructionSetsReadAnyBytesAlike) {
  std::mt19937 random(7);
  constexpr std::int64_t kValues = 256 * 64;
  for (int t = static_cast<int>(DType::kF16); t < kDTypeCount; ++t) {
    const DType type = static_cast<DType>(t);
    std::vector<std::byte> bytes(static_cast<std::size_t>(row_bytes(type, kValues)) + 1);
    for (std::byte& b : bytes) b = static_cast<std::byte>(random() >> 13);
    std::vector<float> expected(kValues), found(kValues);
    dequantize_fn(type)(bytes.data() + 1, expected.data(), kValues);
    for (const cpu::Isa isa : cpu::usable_isas()) {
      cpu::micro(isa).formats->dequantize[t](bytes.data() + 1, found.data(), kValues);
      expect_same_floats(found, expected, std::string(name(type)) + " " + cpu::name(isa));
    }
  }
}

// The stored weight is near the given one: half a step of the coarsest scale a format can choose.
TEST(Formats, WeightsComeBack) {
  struct Limit {
    DType type;
    float of_largest;  // |error| / largest |weight| of the block
  };
  constexpr Limit kLimits[] = {{DType::kQ8_0, 0.0045f}, {DType::kQ6_K, 0.04f},  {DType::kQ4_0, 0.13f},
                               {DType::kQ4_1, 0.075f},  {DType::kQ5_0, 0.065f}, {DType::kQ5_1, 0.037f}};
  std::mt19937 random(3);
  std::vector<float> values(256 * 32);
  for (float& value : values) value = 2.0f * uniform(random) - 1.0f;
  for (const Limit& limit : kLimits) {
    const std::vector<float> back =
        dequantized(dequantize_fn(limit.type), quantized(quantize_fn(limit.type), limit.type, values),
                    static_cast<std::int64_t>(values.size()));
    for (std::size_t i = 0; i < values.size(); ++i)
      ASSERT_NEAR(back[i], values[i], limit.of_largest) << name(limit.type) << " at " << i;
  }
}

TEST(Formats, FirstNotFinite) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity(), kNaN = std::numeric_limits<float>::quiet_NaN();
  std::vector<float> values(1000, std::numeric_limits<float>::max());
  EXPECT_EQ(first_not_finite(values.data(), 0), -1);
  EXPECT_EQ(first_not_finite(values.data(), 1000), -1);
  for (const float bad : {kInfinity, -kInfinity, kNaN, -kNaN})
    for (const std::int64_t at : {0, 1, 255, 256, 511, 998, 999}) {
      std::vector<float> copy = values;
      copy[at] = bad;
      if (at < 999) copy[at + 1] = kNaN;
      EXPECT_EQ(first_not_finite(copy.data(), 1000), at);
      EXPECT_EQ(first_not_finite(copy.data(), at), -1);
    }
}

}  // namespace
}  // namespace crossover
