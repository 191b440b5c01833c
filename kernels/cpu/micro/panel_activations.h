// Activations for products with Q6_K weights in panels: int8 codes with one scale per 32 values, as those of int8_row.h but for one
// condition: the magnitudes of 16 codes add up to kMostMagnitude at most. A weight's code is -32 .. 31, so the sum of 16 products then
// fits 16 bits whatever the weights are, and one multiply-add of pairs of 16 bits applies the scales of two groups of 16 at once
// (panel_pairs.h). Few rows pay for it: of normally distributed values one block of 32 in 21 breaks the condition, by 6 % on average,
// and its scale grows by as much (the mean square error of all by 0.4 %); the most, for values of one magnitude, is a factor of two.
#pragma once

#include "kernels/cpu/micro/bytes.h"
#include "kernels/cpu/micro/int8_row.h"

namespace crossover::cpu::CROSSOVER_ISA {

inline constexpr int kMostMagnitude = 32767 / 32;

// 256 values. The codes of two neighbouring groups of 16 take turns: those of pair p for quad q (values 4q .. 4q + 3 of a group) lie at
// 32p + 8q, first those of group 2p, then those of group 2p + 1.
struct alignas(64) ActivationBlock {
  float scale[8];         // per 32 values
  std::int32_t bias[16];  // per 16 values: see bias_of
  std::int8_t code[kInt8Block];

  CROSSOVER_INLINE const std::int8_t* quads(int pair, int q) const { return code + 32 * pair + 8 * q; }
};

// By halves, so that every instruction set comes to the same bits.
CROSSOVER_INLINE float sum_by_halves(F16 x) {
#if defined(__AVX2__)
  return sum(x);
#else
  for (int half = 8; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) x.v[i] += x.v[i + half];
  return x.v[0];
#endif
}

// What makes codes 0 .. 63 count as -32 .. 31 when the sum of 16 products begins with it: -32 times the sum of the 16 activations. AVX2
// sums in halves of 16 bits, of which the low one takes values 0 and 1 of every four.
CROSSOVER_INLINE std::int32_t bias_of(const std::int8_t* code) {
#if defined(__AVX512F__)
  const __m128i fours = _mm_dpbusd_epi32(_mm_setzero_si128(), _mm_set1_epi8(1), load_16_bytes(code));
  const __m128i pairs = _mm_add_epi32(fours, _mm_unpackhi_epi64(fours, fours));
  return -32 * _mm_cvtsi128_si32(_mm_add_epi32(pairs, _mm_srli_epi64(pairs, 32)));
#elif defined(__AVX2__)
  const __m128i pairs = _mm_maddubs_epi16(_mm_set1_epi8(1), load_16_bytes(code));
  const __m128i fours = _mm_add_epi16(pairs, _mm_srli_si128(pairs, 8)), sum = _mm_add_epi16(fours, _mm_srli_si128(fours, 4));
  return _mm_cvtsi128_si32(_mm_sub_epi16(_mm_setzero_si128(), _mm_slli_epi16(sum, 5)));
#else
  std::int32_t sum = 0;
  for (int i = 0; i < 16; ++i) sum += code[i];
  return -32 * sum;
#endif
}

// 32 codes in order; returns their scale. Rounding adds at most half a code to each of 16 magnitudes, hence the 8. The condition is put to the
// values and not to codes rounded before: so a scale moves no more than the values do.
CROSSOVER_INLINE float quantize_within(const float* x, std::int8_t* code) {
  const F16 a = load(x), b = load(x + 16), share = broadcast(1.0f / static_cast<float>(kMostMagnitude - 8));
  const float first = sum_by_halves(abs(a) * share), second = sum_by_halves(abs(b) * share);
  float sums[2];
  return quantize_32(a, b, first > second ? first : second, code, sums);
}

// dim is a multiple of 256.
inline void quantize_activations(const float* x, std::int64_t dim, ActivationBlock* out) {
  for (std::int64_t k = 0; k < dim; k += 32) {
    ActivationBlock& block = out[k / kInt8Block];
    const std::int64_t pair = k % kInt8Block / 32;
    alignas(16) std::int8_t code[32];
    block.scale[pair] = quantize_within(x + k, code);
    for (int half = 0; half < 2; ++half) {
      block.bias[2 * pair + half] = bias_of(code + 16 * half);
      for (int q = 0; q < 4; ++q) __builtin_memcpy(block.code + 32 * pair + 8 * q + 4 * half, code + 16 * half + 4 * q, 4);
    }
  }
}

}  // namespace crossover::cpu::CROSSOVER_ISA
