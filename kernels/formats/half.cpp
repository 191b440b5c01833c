// IEEE binary16 and bfloat16. A NaN keeps its sign and upper payload bits and comes out quiet, as F16C does it;
// widening a bf16 only shifts.
#include <bit>
#include <cstring>

#include "kernels/formats/rows.h"

namespace crossover {
namespace {

constexpr std::uint32_t kMagnitude = 0x7fffffffu;
constexpr std::uint32_t kInfinity = 0x7f800000u;  // f32

// Adding this and the lowest kept bit rounds to nearest even once `dropped` bits are cut off.
constexpr std::uint32_t below_half(int dropped) { return (1u << (dropped - 1)) - 1; }

template <std::uint16_t (*convert)(float)>
void narrow(const float* from, std::byte* to, std::int64_t values) {
  for (std::int64_t i = 0; i < values; ++i) {
    const std::uint16_t bits = convert(from[i]);
    std::memcpy(to + 2 * i, &bits, 2);
  }
}

template <float (*convert)(std::uint16_t)>
void widen(const std::byte* from, float* to, std::int64_t values) {
  for (std::int64_t i = 0; i < values; ++i) {
    std::uint16_t bits;
    std::memcpy(&bits, from + 2 * i, 2);
    to[i] = convert(bits);
  }
}

}  // namespace

float f16_to_f32(std::uint16_t bits) {
  const std::uint32_t sign = (bits & 0x8000u) << 16;
  const std::uint32_t exponent = (bits >> 10) & 0x1fu;
  const std::uint32_t mantissa = bits & 0x3ffu;
  if (exponent == 0) {
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(magnitude));
  }
  if (exponent == 31) {
    const std::uint32_t quiet = mantissa ? 0x400000u : 0u;
    return std::bit_cast<float>(sign | kInfinity | quiet | (mantissa << 13));
  }
  return std::bit_cast<float>(sign | ((exponent + 127 - 15) << 23) | (mantissa << 13));
}

std::uint16_t f32_to_f16(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (bits >> 16) & 0x8000u;
  const std::uint32_t magnitude = bits & kMagnitude;
  std::uint32_t half;
  if (magnitude > kInfinity) {
    half = 0x7e00u | ((magnitude >> 13) & 0x3ffu);
  } else if (magnitude >= 0x47800000u) {  // 2^16: past the largest value even before rounding
    half = 0x7c00u;
  } else if (magnitude < 0x38800000u) {  // 2^-14: a subnormal; at 0.5 one f32 step is 2^-24, so the sum rounds to it
    half = std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - std::bit_cast<std::uint32_t>(0.5f);
  } else {
    half = (magnitude + below_half(13) + ((magnitude >> 13) & 1u) - (static_cast<std::uint32_t>(127 - 15) << 23)) >> 13;
  }
  return static_cast<std::uint16_t>(sign | half);
}

float bf16_to_f32(std::uint16_t bits) { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }

std::uint16_t f32_to_bf16(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & kMagnitude) > kInfinity) return static_cast<std::uint16_t>((bits >> 16) | 0x40u);
  return static_cast<std::uint16_t>((bits + below_half(16) + ((bits >> 16) & 1u)) >> 16);
}

void quantize_f16(const float* from, std::byte* to, std::int64_t values) { narrow<f32_to_f16>(from, to, values); }
void quantize_bf16(const float* from, std::byte* to, std::int64_t values) { narrow<f32_to_bf16>(from, to, values); }
void dequantize_f16(const std::byte* from, float* to, std::int64_t values) { widen<f16_to_f32>(from, to, values); }
void dequantize_bf16(const std::byte* from, float* to, std::int64_t values) { widen<bf16_to_f32>(from, to, values); }

}  // namespace crossover
