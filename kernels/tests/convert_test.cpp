// Conversions of any type to any other on every instruction set against the three plain steps: dequantize, check, quantize.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "kernels/cpu/isa.h"
#include "kernels/cpu/micro.h"
#include "kernels/formats/formats.h"

namespace crossover {
namespace {

using ConvertFn = std::int64_t (*)(DType, const std::byte*, DType, std::byte*, std::int64_t);
using Bytes = std::vector<std::byte>;

constexpr std::byte kCanary{0xa5};
constexpr std::int64_t kCanaryBytes = 64;
constexpr std::int64_t kStrip = 256;  // edges worth testing: both implementations work in strips of it

struct Version {
  std::string name;
  ConvertFn convert;
};
std::vector<Version> versions() {
  std::vector<Version> all{{"plain", convert_values}};
  for (const cpu::Isa isa : cpu::usable_isas()) all.push_back({cpu::name(isa), cpu::micro(isa).formats->convert});
  return all;
}

std::vector<DType> types() {
  std::vector<DType> all;
  for (int t = 0; t < kDTypeCount; ++t) all.push_back(static_cast<DType>(t));
  return all;
}

std::size_t size_of(DType type, std::int64_t values) { return static_cast<std::size_t>(row_bytes(type, values)); }

// Weights with the largest finite values of the type among them: nothing may mistake those for infinities.
Bytes stored_row(DType type, std::int64_t values) {
  if (values == 0) return {};
  std::mt19937 random(static_cast<unsigned>(values) + 1);
  std::normal_distribution<float> normal(0.0f, 0.02f);
  std::vector<float> weights(static_cast<std::size_t>(values));
  for (float& weight : weights) weight = normal(random);
  Bytes stored(size_of(type, values));
  quantize_fn(type)(weights.data(), stored.data(), values);
  const auto put = [&](std::int64_t at, std::uint32_t bits, std::size_t bytes) {
    if (at >= 0 && at < values) std::memcpy(stored.data() + static_cast<std::size_t>(at) * bytes, &bits, bytes);
  };
  for (const std::int64_t at : {std::int64_t{2}, kStrip - 3, values - 1}) {
    if (type == DType::kF32) put(at, 0xff7fffffu, 4);
    if (type == DType::kF16) put(at, 0x7bffu, 2);
    if (type == DType::kBF16) put(at, 0xff7fu, 2);
  }
  return stored;
}

struct Expected {
  Bytes out;         // of the strips before a bad value
  std::int64_t bad;  // -1: none
};
Expected in_steps(DType from, const Bytes& stored, DType to, std::int64_t values) {
  if (values == 0) return {{}, -1};
  std::vector<float> wide(static_cast<std::size_t>(values));
  dequantize_fn(from)(stored.data(), wide.data(), values);
  const std::int64_t bad = first_not_finite(wide.data(), values), good = bad < 0 ? values : bad / kStrip * kStrip;
  Bytes out(size_of(to, good));
  if (from == to)
    std::copy_n(stored.begin(), out.size(), out.begin());
  else if (good > 0)
    quantize_fn(to)(wide.data(), out.data(), good);
  return {out, bad};
}

// Source and target each start `offset` bytes past an address that any load could want.
void expect_converted(const Version& version, DType from, const Bytes& stored, DType to, std::int64_t values, std::int64_t offset) {
  SCOPED_TRACE(version.name + ": " + std::to_string(values) + " values, " + name(from) + " to " + name(to) + ", offset " +
               std::to_string(offset));
  const Expected expected = in_steps(from, stored, to, values);
  Bytes source(stored.size() + 64), out(size_of(to, values) + 64 + 2 * kCanaryBytes, kCanary);
  std::copy(stored.begin(), stored.end(), source.begin() + offset);
  const std::int64_t start = kCanaryBytes + (offset ? offset + 2 : 0), end = start + row_bytes(to, values);
  ASSERT_EQ(version.convert(from, source.data() + offset, to, out.data() + start, values), expected.bad);
  EXPECT_TRUE(std::equal(expected.out.begin(), expected.out.end(), out.begin() + start)) << "bytes differ";
  EXPECT_TRUE(std::all_of(out.begin(), out.begin() + start, [](std::byte b) { return b == kCanary; })) << "wrote before the row";
  EXPECT_TRUE(std::all_of(out.begin() + end, out.end(), [](std::byte b) { return b == kCanary; })) << "wrote past the row";
}

std::vector<std::int64_t> lengths(DType from, DType to) {
  const std::int64_t block = std::max(info(from).block_values, info(to).block_values);
  std::vector<std::int64_t> all{0, block, kStrip - block, kStrip, kStrip + block, 3 * kStrip + block};
  if (block == 1) all.insert(all.end(), {15, 16, 17, 31, 33, 4103});
  return all;
}

TEST(Convert, EveryPairEqualsTheThreeSteps) {
  for (const DType from : types())
    for (const DType to : types())
      for (const std::int64_t values : lengths(from, to)) {
        const Bytes stored = stored_row(from, values);
        for (const Version& version : versions())
          for (const std::int64_t offset : {0, 1, 6}) expect_converted(version, from, stored, to, values, offset);
      }
}

// A NaN or an infinity in place of value `at`; of a block format in place of the scale (or the minimum) of the block that holds it.
void damage(DType type, Bytes& stored, std::int64_t at, int kind) {
  constexpr std::uint32_t kF32[] = {0x7f800000u, 0xff800000u, 0x7fc00000u, 0xffffffffu, 0x7f800001u};
  constexpr std::uint16_t kF16[] = {0x7c00u, 0xfc00u, 0x7e00u, 0xffffu, 0x7c01u};
  const auto put = [&](std::int64_t where, const auto& bits) { std::memcpy(stored.data() + where, &bits, sizeof bits); };
  const DTypeInfo& format = info(type);
  const std::int64_t where = at / format.block_values * format.block_bytes;
  switch (type) {
    case DType::kF32: return put(where, kF32[kind]);
    case DType::kF16: return put(where, kF16[kind]);
    case DType::kBF16: return put(where, static_cast<std::uint16_t>(kind == 4 ? 0x7f81u : kF32[kind] >> 16));
    case DType::kQ6_K: return put(where + 208, kF16[kind]);
    case DType::kQ4_1:
    case DType::kQ5_1: return put(where + (kind % 2 ? 2 : 0), kF16[kind]);
    default: return put(where, kF16[kind]);
  }
}

TEST(Convert, TheFirstValueThatIsNotFiniteIsNamed) {
  constexpr std::int64_t kValues = 3 * kStrip;
  for (const DType from : types())
    for (const DType to : types()) {
      const std::int64_t block = info(from).block_values;
      int kind = 0;
      for (const std::int64_t at : {std::int64_t{0}, std::int64_t{1}, std::int64_t{77}, kStrip - 1, kStrip, kValues - 1}) {
        Bytes stored = stored_row(from, kValues);
        damage(from, stored, at, kind = (kind + 1) % 5);
        if (at + block + 5 < kValues) damage(from, stored, at + block + 5, kind);
        ASSERT_EQ(in_steps(from, stored, to, kValues).bad, at / block * block);
        for (const Version& version : versions()) expect_converted(version, from, stored, to, kValues, at % 3);
      }
    }
}

TEST(Convert, EveryKindOfBadValueIsFoundInEveryLane) {
  for (const DType type : {DType::kF32, DType::kF16, DType::kBF16})
    for (int kind = 0; kind < 5; ++kind)
      for (std::int64_t at = 0; at < 70; ++at) {
        Bytes stored = stored_row(type, 70);
        damage(type, stored, at, kind);
        for (const Version& version : versions())
          for (const DType to : {DType::kF32, DType::kF16, DType::kBF16}) expect_converted(version, type, stored, to, 70, 1);
      }
}

TEST(Convert, EqualTypesMayBeCheckedInPlace) {
  constexpr std::int64_t kValues = 2 * kStrip;
  for (const DType type : types()) {
    const Bytes stored = stored_row(type, kValues);
    for (const Version& version : versions()) {
      Bytes row = stored;
      EXPECT_EQ(version.convert(type, row.data(), type, row.data(), kValues), -1) << version.name << " " << name(type);
      EXPECT_EQ(row, stored) << version.name << " " << name(type);
      damage(type, row, kValues - 1, 2);
      const std::int64_t block = info(type).block_values;
      EXPECT_EQ(version.convert(type, row.data(), type, row.data(), kValues), (kValues - 1) / block * block)
          << version.name << " " << name(type);
    }
  }
}

}  // namespace
}  // namespace crossover
