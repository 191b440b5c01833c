// Sums across lanes, sixteen at once.
#pragma once

#include "kernels/cpu/micro/simd.h"

namespace crossover::cpu::CROSSOVER_ISA {

// Lane i of the result is the sum of the lanes of x[i].
CROSSOVER_INLINE F16 sums_of(const F16 (&x)[16]) {
#if defined(__AVX512F__)
  __m512 quad[4];
  for (int i = 0; i < 4; ++i) {
    const __m512 a = x[4 * i].v, b = x[4 * i + 1].v, c = x[4 * i + 2].v, d = x[4 * i + 3].v;
    const __m512d ab = _mm512_castps_pd(_mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b)));
    const __m512d cd = _mm512_castps_pd(_mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d)));
    quad[i] = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(ab, cd)), _mm512_castpd_ps(_mm512_unpackhi_pd(ab, cd)));
  }
  const __m512 low = _mm512_add_ps(_mm512_shuffle_f32x4(quad[0], quad[1], 0x88), _mm512_shuffle_f32x4(quad[0], quad[1], 0xdd));
  const __m512 high = _mm512_add_ps(_mm512_shuffle_f32x4(quad[2], quad[3], 0x88), _mm512_shuffle_f32x4(quad[2], quad[3], 0xdd));
  return {_mm512_add_ps(_mm512_shuffle_f32x4(low, high, 0x88), _mm512_shuffle_f32x4(low, high, 0xdd))};
#else
  float lanes[16];
  for (int i = 0; i < 16; ++i) lanes[i] = sum(x[i]);
  return load(lanes);
#endif
}

}  // namespace crossover::cpu::CROSSOVER_ISA
