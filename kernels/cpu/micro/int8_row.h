// Activations for integer dot products: int8 codes with one scale per 32 values, so an outlier coarsens its own 32 values only.
#pragma once

#include "kernels/cpu/micro/simd.h"

namespace crossover::cpu::CROSSOVER_ISA {

inline constexpr std::int64_t kInt8Block = 256;

// 256 values; the last block of a row is filled up with zeros.
struct alignas(64) Int8Block {
  float scale[16];   // per 16 values; two neighbours are equal
  float offset[16];  // scale * sum of the 16 codes: what a constant added to every weight contributes
  std::int8_t code[kInt8Block];
};

CROSSOVER_INLINE std::int64_t int8_blocks(std::int64_t dim) { return (dim + kInt8Block - 1) / kInt8Block; }

#if defined(__AVX2__)
CROSSOVER_INLINE float sum(__m256 x) {
  __m128 t = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  t = _mm_add_ps(t, _mm_movehl_ps(t, t));
  return _mm_cvtss_f32(_mm_add_ss(t, _mm_movehdup_ps(t)));
}
#endif

// Sixteen codes of `x` to `code`; returns their sum.
CROSSOVER_INLINE float store_codes(F16 x, std::int8_t* code) {
  const I16 rounded = round_even(x);
#if defined(__AVX512F__)
  _mm_storeu_si128(reinterpret_cast<__m128i*>(code), _mm512_cvtepi32_epi8(rounded.v));
#else
  std::int32_t lanes[16];
  store(lanes, rounded);
  for (int i = 0; i < 16; ++i) code[i] = static_cast<std::int8_t>(lanes[i]);
#endif
  return sum(to_float(rounded));  // integers below 2^24: exact in any order
}

// 32 values to codes of a scale of `least` at least; returns it. sums: of 16 codes each. A non-finite value makes the scale NaN, so that it
// reaches the output instead of becoming some code.
CROSSOVER_INLINE float quantize_32(F16 a, F16 b, float least, std::int8_t* code, float sums[2]) {
  const float largest = max_lane(max(abs(a), abs(b))), exact = largest / 127.0f;
  const float poison = sum(a * zero() + b * zero());
  float s = least > exact ? least : exact, inverse = 1.0f / s;
  if (poison != 0.0f) s = poison, inverse = 0.0f, a = b = zero();
  else if (largest < 1e-30f) s = inverse = 0.0f;  // 1 / s would overflow below 2^-128
  sums[0] = store_codes(a * broadcast(inverse), code), sums[1] = store_codes(b * broadcast(inverse), code + 16);
  return s;
}

CROSSOVER_INLINE void quantize_32(const float* x, float* scale, float* offset, std::int8_t* code) {
  float sums[2];
  const float s = quantize_32(load(x), load(x + 16), 0.0f, code, sums);
  for (int i = 0; i < 2; ++i) scale[i] = s, offset[i] = s * sums[i];
}

// dim is a multiple of 32.
inline void quantize_row(const float* x, std::int64_t dim, Int8Block* out) {
  for (std::int64_t k = 0; k < int8_blocks(dim) * kInt8Block; k += 32) {
    Int8Block& block = out[k / kInt8Block];
    const std::int64_t i = k % kInt8Block;
    if (k < dim) {
      quantize_32(x + k, block.scale + i / 16, block.offset + i / 16, block.code + i);
    } else {
      for (std::int64_t j = 0; j < 2; ++j) block.scale[i / 16 + j] = block.offset[i / 16 + j] = 0.0f;
      for (std::int64_t j = 0; j < 32; ++j) block.code[i + j] = 0;
    }
  }
}

}  // namespace crossover::cpu::CROSSOVER_ISA
