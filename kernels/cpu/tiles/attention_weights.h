// From scores to weights of streaming softmax, a strip of 64 keys of one row at a time, and bf16 for the operands of tiles. Scores are
// logarithms to base 2. The maximum that weights are relative to follows only when a score exceeds it by more than 8, and in whole steps: what was
// accumulated before then shrinks by a power of two, which rounds nothing, and hardly ever.
#pragma once

#include "kernels/cpu/micro/simd.h"
#include "kernels/cpu/tiles/bf16.h"

namespace crossover::cpu::CROSSOVER_ISA {

constexpr std::int64_t kStripKeys = 64;
constexpr float kLargest = 1.0e38f;   // scores are clamped to it: inf - inf would be NaN
constexpr float kRise = 8.0f, kMostWeight = 256.0f;  // 2^kRise
constexpr float kLog2E = 1.44269504f;

CROSSOVER_INLINE float of_bf16(std::uint16_t x) { return __builtin_bit_cast(float, static_cast<std::uint32_t>(x) << 16); }

// Bounds the first `seen` of a strip's scores; where they exceed the row's maximum by too much it is raised, and `weights` before the strip
// and the accumulators [width] shrink.
__attribute__((noinline)) inline void raise(float* scores, std::int64_t seen, std::uint16_t* weights, std::int64_t weights_before, float& row_max,
                                            float* accumulator, std::int64_t width) {
  for (std::int64_t i = seen; i < kStripKeys; ++i) scores[i] = -kLargest;
  F16 tops = broadcast(-kLargest);
  for (std::int64_t i = 0; i < kStripKeys; i += 16) {
    store(scores + i, min(max(load(scores + i), broadcast(-kLargest)), broadcast(kLargest)));  // what is not a number becomes the second
    tops = max(tops, load(scores + i));
  }
  const float top = max_lane(tops);
  if (!(top > row_max + kRise)) return;
  const bool first = row_max < -kLargest;  // nothing was accumulated
  const float before = row_max;
  row_max = first ? top : before + __builtin_ceilf(top - before);
  if (first) return;
  const float shrink = __builtin_exp2f(before - row_max);
  for (std::int64_t i = 0; i < width; i += 16) store(accumulator + i, broadcast(shrink) * load(accumulator + i));
  for (std::int64_t i = 0; i < weights_before; ++i) weights[i] = bf16_of(shrink * of_bf16(weights[i]));
}

#if defined(__AVX512BF16__)

CROSSOVER_INLINE void narrow_query(const float* q, float factor, std::uint16_t* to) {
  const __m512 f = _mm512_set1_ps(factor);
  const __m512bh pairs = _mm512_cvtne2ps_pbh(_mm512_mul_ps(f, _mm512_loadu_ps(q + 16)), _mm512_mul_ps(f, _mm512_loadu_ps(q)));
  _mm512_storeu_si512(to, reinterpret_cast<__m512i>(pairs));
}

// 32 features of two rows as pairs, the first 16 to `low`, the others to `high`.
CROSSOVER_INLINE void interleave(const std::uint16_t* even, const std::uint16_t* odd, std::uint16_t* low, std::uint16_t* high) {
  const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512i order = _mm512_or_si512(lanes, _mm512_slli_epi32(_mm512_add_epi32(lanes, _mm512_set1_epi32(32)), 16));
  const __m512i a = _mm512_loadu_si512(even), b = _mm512_loadu_si512(odd);
  _mm512_storeu_si512(low, _mm512_permutex2var_epi16(a, order, b));
  _mm512_storeu_si512(high, _mm512_permutex2var_epi16(a, _mm512_add_epi16(order, _mm512_set1_epi16(16)), b));
}

// 2^x to 1.7e-3, which is what rounding it to bf16 leaves.
CROSSOVER_INLINE __m512 power_of_two(__m512 x) {
  const __m512 f = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
  __m512 p = _mm512_set1_ps(3.3718944e-1f);
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(6.5763628e-1f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.0017247f));
  return _mm512_scalef_ps(p, x);
}

// Weights of the first `seen` of 64 scores to weights + first, zeros for the others; their sums are added to `sums` [16]. Weights are added up as
// they were rounded, so that equal errors of both cancel. What was accumulated before: [width] floats.
CROSSOVER_INLINE void weigh_strip(float* scores, std::int64_t seen, std::uint16_t* weights, std::int64_t first, float& row_max, float* sums,
                                  float* accumulator, std::int64_t width) {
  std::uint16_t* to = weights + first;
  if (seen <= 0) {
    _mm512_storeu_si512(to, _mm512_setzero_si512()), _mm512_storeu_si512(to + 32, _mm512_setzero_si512());
    return;
  }
  __m512bh low, high;
  const auto weigh = [&]() __attribute__((always_inline)) {
    const __m512 lowest = _mm512_set1_ps(-kLargest), offset = _mm512_set1_ps(row_max);
    __m512 x[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) x[i] = _mm512_sub_ps(_mm512_loadu_ps(scores + 16 * i), offset);
    if (seen < kStripKeys) [[unlikely]]
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) x[i] = _mm512_mask_mov_ps(lowest, first_lanes(seen - 16 * i), x[i]);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) x[i] = power_of_two(x[i]);
    low = _mm512_cvtne2ps_pbh(x[1], x[0]), high = _mm512_cvtne2ps_pbh(x[3], x[2]);
  };
  weigh();
  const auto low_bits = reinterpret_cast<__m512i>(low), high_bits = reinterpret_cast<__m512i>(high);
  // By the order of their bits, in which what is not a number comes last.
  if (_mm512_cmpgt_epu16_mask(_mm512_max_epu16(low_bits, high_bits), _mm512_set1_epi16(bf16_of(kMostWeight)))) [[unlikely]] {
    raise(scores, seen < kStripKeys ? seen : kStripKeys, weights, first, row_max, accumulator, width);
    weigh();
  }
  _mm512_storeu_si512(to, reinterpret_cast<__m512i>(low)), _mm512_storeu_si512(to + 32, reinterpret_cast<__m512i>(high));
  const auto ones = reinterpret_cast<__m512bh>(_mm512_set1_epi32(0x3f803f80));
  _mm512_storeu_ps(sums, _mm512_dpbf16_ps(_mm512_dpbf16_ps(_mm512_loadu_ps(sums), low, ones), high, ones));
}

#else

CROSSOVER_INLINE void narrow_query(const float* q, float factor, std::uint16_t* to) {
  for (int i = 0; i < 32; ++i) to[i] = bf16_of(factor * q[i]);
}

CROSSOVER_INLINE void interleave(const std::uint16_t* even, const std::uint16_t* odd, std::uint16_t* low, std::uint16_t* high) {
  for (int i = 0; i < 16; ++i) {
    low[2 * i] = even[i], low[2 * i + 1] = odd[i];
    high[2 * i] = even[16 + i], high[2 * i + 1] = odd[16 + i];
  }
}

CROSSOVER_INLINE void weigh_strip(float* scores, std::int64_t seen, std::uint16_t* weights, std::int64_t first, float& row_max, float* sums,
                                  float* accumulator, std::int64_t width) {
  seen = seen < kStripKeys ? seen : kStripKeys;
  if (seen <= 0) {
    __builtin_memset(weights + first, 0, kStripKeys * sizeof *weights);
    return;
  }
  bool within = true;
  for (std::int64_t i = 0; i < seen; ++i) within = within && scores[i] - row_max <= kRise;
  if (!within) raise(scores, seen, weights, first, row_max, accumulator, width);
  for (std::int64_t i = 0; i < kStripKeys; ++i) {
    weights[first + i] = i < seen ? bf16_of(__builtin_exp2f(scores[i] - row_max)) : std::uint16_t{0};
    sums[i % 16] += of_bf16(weights[first + i]);
  }
}

#endif

}  // namespace crossover::cpu::CROSSOVER_ISA
