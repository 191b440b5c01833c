// Q4_0, Q4_1, Q5_0, Q5_1: 32 weights share an f16 scale; _0 is symmetric about zero, _1 has an f16 minimum besides.
// Codes come from scale and minimum before they are rounded to f16.
#include <cmath>

#include "kernels/formats/blocks.h"
#include "kernels/formats/rows.h"

namespace crossover {
namespace {

constexpr int kValues = 32;

struct Codes {
  float d, m;
  std::uint8_t q[kValues];
};

// The largest magnitude, the first of equals, gets code 0. The search starts at +0, so zeros of either sign give d =
// -0.
template <int bits>
void symmetric_codes(const float* x, Codes& codes) {
  constexpr int kHalf = 1 << (bits - 1), kLast = 2 * kHalf - 1;
  float largest = 0.0f, extreme = 0.0f;
  for (int i = 0; i < kValues; ++i) {
    if (std::fabs(x[i]) > largest) largest = std::fabs(x[i]), extreme = x[i];
  }
  codes.d = extreme / static_cast<float>(-kHalf);
  const float inverse = codes.d != 0.0f ? 1.0f / codes.d : 0.0f;
  for (int i = 0; i < kValues; ++i) {
    const int code = truncate_code(x[i] * inverse + (static_cast<float>(kHalf) + 0.5f));
    codes.q[i] = static_cast<std::uint8_t>(code < kLast ? code : kLast);
  }
}

template <int bits>
void offset_codes(const float* x, Codes& codes) {
  constexpr int kLast = (1 << bits) - 1;
  float low = x[0], high = x[0];
  for (int i = 1; i < kValues; ++i) {
    low = x[i] < low ? x[i] : low;
    high = x[i] > high ? x[i] : high;
  }
  codes.d = (high - low) / static_cast<float>(kLast);
  codes.m = low;
  const float inverse = codes.d != 0.0f ? 1.0f / codes.d : 0.0f;
  for (int i = 0; i < kValues; ++i) {
    const int code = truncate_code((x[i] - low) * inverse + 0.5f);
    codes.q[i] = static_cast<std::uint8_t>(code < kLast ? code : kLast);
  }
}

void pack_nibbles(const std::uint8_t* codes, std::uint8_t* q) {
  for (int j = 0; j < kValues / 2; ++j)
    q[j] = static_cast<std::uint8_t>((codes[j] & 15) | ((codes[j + kValues / 2] & 15) << 4));
}

std::uint32_t fifth_bits(const std::uint8_t* codes) {
  std::uint32_t bits = 0;
  for (int j = 0; j < kValues; ++j) bits |= static_cast<std::uint32_t>((codes[j] >> 4) & 1) << j;
  return bits;
}

int nibble(const std::uint8_t* q, int weight) {
  return weight < kValues / 2 ? q[weight] & 15 : q[weight - kValues / 2] >> 4;
}
int fifth(std::uint32_t qh, int weight) { return static_cast<int>((qh >> weight) & 1) << 4; }

template <class Block, class FromCodes>
void quantize_blocks(const float* from, std::byte* to, std::int64_t values, FromCodes convert) {
  auto* block = reinterpret_cast<Block*>(to);
  for (std::int64_t start = 0; start < values; start += kValues, ++block) convert(from + start, *block);
}

template <class Block, class Weight>
void dequantize_blocks(const std::byte* from, float* to, std::int64_t values, Weight weight) {
  const auto* block = reinterpret_cast<const Block*>(from);
  for (std::int64_t start = 0; start < values; start += kValues, ++block)
    for (int i = 0; i < kValues; ++i) to[start + i] = weight(*block, i);
}

}  // namespace

void quantize_q4_0(const float* from, std::byte* to, std::int64_t values) {
  quantize_blocks<BlockQ4_0>(from, to, values, [](const float* x, BlockQ4_0& block) {
    Codes codes;
    symmetric_codes<4>(x, codes);
    block.d = f32_to_f16(codes.d);
    pack_nibbles(codes.q, block.q);
  });
}

void quantize_q4_1(const float* from, std::byte* to, std::int64_t values) {
  quantize_blocks<BlockQ4_1>(from, to, values, [](const float* x, BlockQ4_1& block) {
    Codes codes;
    offset_codes<4>(x, codes);
    block.d = f32_to_f16(codes.d);
    block.m = f32_to_f16(codes.m);
    pack_nibbles(codes.q, block.q);
  });
}

void quantize_q5_0(const float* from, std::byte* to, std::int64_t values) {
  quantize_blocks<BlockQ5_0>(from, to, values, [](const float* x, BlockQ5_0& block) {
    Codes codes;
    symmetric_codes<5>(x, codes);
    block.d = f32_to_f16(codes.d);
    block.qh = fifth_bits(codes.q);
    pack_nibbles(codes.q, block.q);
  });
}

void quantize_q5_1(const float* from, std::byte* to, std::int64_t values) {
  quantize_blocks<BlockQ5_1>(from, to, values, [](const float* x, BlockQ5_1& block) {
    Codes codes;
    offset_codes<5>(x, codes);
    block.d = f32_to_f16(codes.d);
    block.m = f32_to_f16(codes.m);
    block.qh = fifth_bits(codes.q);
    pack_nibbles(codes.q, block.q);
  });
}

void dequantize_q4_0(const std::byte* from, float* to, std::int64_t values) {
  dequantize_blocks<BlockQ4_0>(from, to, values, [](const BlockQ4_0& block, int i) {
    return static_cast<float>(nibble(block.q, i) - 8) * f16_to_f32(block.d);
  });
}

void dequantize_q4_1(const std::byte* from, float* to, std::int64_t values) {
  dequantize_blocks<BlockQ4_1>(from, to, values, [](const BlockQ4_1& block, int i) {
    return static_cast<float>(nibble(block.q, i)) * f16_to_f32(block.d) + f16_to_f32(block.m);
  });
}

void dequantize_q5_0(const std::byte* from, float* to, std::int64_t values) {
  dequantize_blocks<BlockQ5_0>(from, to, values, [](const BlockQ5_0& block, int i) {
    return static_cast<float>((nibble(block.q, i) | fifth(block.qh, i)) - 16) * f16_to_f32(block.d);
  });
}

void dequantize_q5_1(const std::byte* from, float* to, std::int64_t values) {
  dequantize_blocks<BlockQ5_1>(from, to, values, [](const BlockQ5_1& block, int i) {
    return static_cast<float>(nibble(block.q, i) | fifth(block.qh, i)) * f16_to_f32(block.d) + f16_to_f32(block.m);
  });
}

}  // namespace crossover
