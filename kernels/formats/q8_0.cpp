// Q8_0: 32 weights share one f16 scale; weight = d * q.
#include <cmath>

#include "kernels/formats/blocks.h"
#include "kernels/formats/rows.h"

namespace crossover {

// Codes come from the scale before it is rounded to f16.
void quantize_q8_0(const float* from, std::byte* to, std::int64_t values) {
  auto* block = reinterpret_cast<BlockQ8_0*>(to);
  for (std::int64_t start = 0; start < values; start += 32, ++block) {
    const float* x = from + start;
    float largest = 0.0f;
    for (int i = 0; i < 32; ++i) largest = std::fabs(x[i]) > largest ? std::fabs(x[i]) : largest;
    const float d = largest / 127.0f;
    const float inverse = d != 0.0f ? 1.0f / d : 0.0f;
    block->d = f32_to_f16(d);
    for (int i = 0; i < 32; ++i) block->q[i] = static_cast<std::int8_t>(truncate_code(std::round(x[i] * inverse)));
  }
}

void dequantize_q8_0(const std::byte* from, float* to, std::int64_t values) {
  const auto* block = reinterpret_cast<const BlockQ8_0*>(from);
  for (std::int64_t start = 0; start < values; start += 32, ++block) {
    const float d = f16_to_f32(block->d);
    for (int i = 0; i < 32; ++i) to[start + i] = d * static_cast<float>(block->q[i]);
  }
}

}  // namespace crossover
