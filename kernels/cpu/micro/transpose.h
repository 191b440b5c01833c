// Transposes of 32-bit values, for panels and tiles.
#pragma once

#include "kernels/cpu/micro/simd.h"

namespace crossover::cpu::CROSSOVER_ISA {

// to[k*to_stride + r] = from[r*from_stride + k], r and k < 16.
CROSSOVER_INLINE void transpose_16x16(const float* from, std::int64_t from_stride, float* to, std::int64_t to_stride) {
#if defined(__AVX512F__)
  __m512i a[16], b[16];
#pragma GCC unroll 16
  for (int r = 0; r < 16; ++r) a[r] = _mm512_loadu_si512(from + r * from_stride);
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) b[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]), b[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
  // a[4g + c]: rows 4g .. 4g+3 of columns c, c + 4, c + 8, c + 12, one per 128-bit part.
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    a[i] = _mm512_unpacklo_epi64(b[i], b[i + 2]), a[i + 1] = _mm512_unpackhi_epi64(b[i], b[i + 2]);
    a[i + 2] = _mm512_unpacklo_epi64(b[i + 1], b[i + 3]), a[i + 3] = _mm512_unpackhi_epi64(b[i + 1], b[i + 3]);
  }
#pragma GCC unroll 4
  for (int c = 0; c < 4; ++c) {
    const __m512i low0 = _mm512_shuffle_i32x4(a[c], a[c + 4], 0x88), low1 = _mm512_shuffle_i32x4(a[c + 8], a[c + 12], 0x88);
    const __m512i high0 = _mm512_shuffle_i32x4(a[c], a[c + 4], 0xdd), high1 = _mm512_shuffle_i32x4(a[c + 8], a[c + 12], 0xdd);
    _mm512_storeu_si512(to + c * to_stride, _mm512_shuffle_i32x4(low0, low1, 0x88));
    _mm512_storeu_si512(to + (c + 4) * to_stride, _mm512_shuffle_i32x4(high0, high1, 0x88));
    _mm512_storeu_si512(to + (c + 8) * to_stride, _mm512_shuffle_i32x4(low0, low1, 0xdd));
    _mm512_storeu_si512(to + (c + 12) * to_stride, _mm512_shuffle_i32x4(high0, high1, 0xdd));
  }
#elif defined(__AVX2__)
  for (int r = 0; r < 16; r += 8)
    for (int k = 0; k < 16; k += 8) {
      const float* p = from + r * from_stride + k;
      __m256 a[8], b[8];
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i) a[i] = _mm256_loadu_ps(p + i * from_stride);
#pragma GCC unroll 4
      for (int i = 0; i < 8; i += 2) b[i] = _mm256_unpacklo_ps(a[i], a[i + 1]), b[i + 1] = _mm256_unpackhi_ps(a[i], a[i + 1]);
#pragma GCC unroll 2
      for (int i = 0; i < 8; i += 4) {
        a[i] = _mm256_shuffle_ps(b[i], b[i + 2], 0x44), a[i + 1] = _mm256_shuffle_ps(b[i], b[i + 2], 0xee);
        a[i + 2] = _mm256_shuffle_ps(b[i + 1], b[i + 3], 0x44), a[i + 3] = _mm256_shuffle_ps(b[i + 1], b[i + 3], 0xee);
      }
      float* q = to + k * to_stride + r;
#pragma GCC unroll 4
      for (int c = 0; c < 4; ++c) {
        _mm256_storeu_ps(q + c * to_stride, _mm256_permute2f128_ps(a[c], a[c + 4], 0x20));
        _mm256_storeu_ps(q + (c + 4) * to_stride, _mm256_permute2f128_ps(a[c], a[c + 4], 0x31));
      }
    }
#else
  for (int k = 0; k < 16; ++k)
    for (int r = 0; r < 16; ++r) to[k * to_stride + r] = from[r * from_stride + k];
#endif
}

}  // namespace crossover::cpu::CROSSOVER_ISA
