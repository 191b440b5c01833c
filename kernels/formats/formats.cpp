#include "kernels/formats/formats.h"

#include <bit>
#include <cstring>

#include "kernels/formats/rows.h"

namespace crossover {
namespace {

void quantize_f32(const float* from, std::byte* to, std::int64_t values) {
  if (values > 0) std::memcpy(to, from, static_cast<std::size_t>(values) * sizeof(float));
}
void dequantize_f32(const std::byte* from, float* to, std::int64_t values) {
  if (values > 0) std::memcpy(to, from, static_cast<std::size_t>(values) * sizeof(float));
}

struct Conversion {
  QuantizeFn quantize;
  DequantizeFn dequantize;
};
// Indexed by DType.
constexpr Conversion kConversions[kDTypeCount] = {
    {quantize_f32, dequantize_f32},   {quantize_f16, dequantize_f16},   {quantize_bf16, dequantize_bf16},
    {quantize_q8_0, dequantize_q8_0}, {quantize_q6_k, dequantize_q6_k}, {quantize_q4_0, dequantize_q4_0},
    {quantize_q4_1, dequantize_q4_1}, {quantize_q5_0, dequantize_q5_0}, {quantize_q5_1, dequantize_q5_1},
};

}  // namespace

QuantizeFn quantize_fn(DType to) { return kConversions[static_cast<int>(to)].quantize; }
DequantizeFn dequantize_fn(DType from) { return kConversions[static_cast<int>(from)].dequantize; }

// Blocks without a branch inside, so that the compiler can vectorise the common case where all are finite.
std::int64_t first_not_finite(const float* values, std::int64_t count) {
  constexpr std::uint32_t kExponent = 0x7f800000u;
  constexpr std::int64_t kBlock = 256;
  const auto not_finite = [&](std::int64_t i) {
    return (std::bit_cast<std::uint32_t>(values[i]) & kExponent) == kExponent;
  };
  for (std::int64_t start = 0; start < count; start += kBlock) {
    const std::int64_t end = start + kBlock < count ? start + kBlock : count;
    std::uint32_t found = 0;
    for (std::int64_t i = start; i < end; ++i) found |= not_finite(i);
    if (!found) continue;
    for (std::int64_t i = start; i < end; ++i)
      if (not_finite(i)) return i;
  }
  return -1;
}

}  // namespace crossover
