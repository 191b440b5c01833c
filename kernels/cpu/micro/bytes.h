// Between sixteen 32-bit lanes and bytes or halves in memory; for the vector instruction sets only.
#pragma once

#include "kernels/cpu/micro/simd.h"

#if defined(__AVX2__)

namespace crossover::cpu::CROSSOVER_ISA {

CROSSOVER_INLINE __m128i load_16_bytes(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
CROSSOVER_INLINE __m256i load_32_bytes(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
CROSSOVER_INLINE float half_to_float(std::uint16_t bits) { return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(bits))); }
CROSSOVER_INLINE std::uint16_t float_to_half(float x) {
  return static_cast<std::uint16_t>(_mm_cvtsi128_si32(_mm_cvtps_ph(_mm_set_ss(x), _MM_FROUND_TO_NEAREST_INT)));
}

#if defined(__AVX512F__)

CROSSOVER_INLINE I16 widen_i8(const void* p) { return {_mm512_cvtepi8_epi32(load_16_bytes(p))}; }
CROSSOVER_INLINE I16 widen_u16(const void* p) { return {_mm512_cvtepu16_epi32(load_32_bytes(p))}; }
CROSSOVER_INLINE F16 load_halves(const void* p) { return {_mm512_cvtph_ps(load_32_bytes(p))}; }
CROSSOVER_INLINE void store_halves(void* p, F16 x) {
  _mm256_storeu_si256(static_cast<__m256i*>(p), _mm512_cvtps_ph(x.v, _MM_FROUND_TO_NEAREST_INT));
}
CROSSOVER_INLINE void store_low_bytes(void* p, I16 x) {
  _mm_storeu_si128(static_cast<__m128i*>(p), _mm512_cvtepi32_epi8(x.v));
}
CROSSOVER_INLINE void store_low_halves(void* p, I16 x) {
  _mm256_storeu_si256(static_cast<__m256i*>(p), _mm512_cvtepi32_epi16(x.v));
}
template <int n>
CROSSOVER_INLINE I16 shift_right_logical(I16 x) {
  return {_mm512_srli_epi32(x.v, n)};
}
CROSSOVER_INLINE F16 nearest(F16 x) {
  return {_mm512_roundscale_ps(x.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
CROSSOVER_INLINE unsigned lane_bits(M16 m) { return m.v; }

// sum += the four products of each lane. By hand because GCC 12 copies the sums of its own intrinsic before every use once there are many.
CROSSOVER_INLINE void add_quads(__m512i& sum, __m512i weights, __m512i activations) {
  asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(weights), "v"(activations));
}

// Lane g of column i is element i of row g.
CROSSOVER_INLINE void transpose(const float* rows /* [16, 16] */, F16* columns) {
  __m512 a[16], b[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) a[i] = _mm512_loadu_ps(rows + 16 * i);
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    b[i] = _mm512_unpacklo_ps(a[i], a[i + 1]);
    b[i + 1] = _mm512_unpackhi_ps(a[i], a[i + 1]);
  }
  const auto pairs = [](__m512 x, __m512 y, bool high) __attribute__((always_inline)) {
    const __m512d p = _mm512_castps_pd(x), q = _mm512_castps_pd(y);
    return _mm512_castpd_ps(high ? _mm512_unpackhi_pd(p, q) : _mm512_unpacklo_pd(p, q));
  };
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    a[i] = pairs(b[i], b[i + 2], false);
    a[i + 1] = pairs(b[i], b[i + 2], true);
    a[i + 2] = pairs(b[i + 1], b[i + 3], false);
    a[i + 3] = pairs(b[i + 1], b[i + 3], true);
  }
  // Quarter q of a[4k + j] holds element 4q + j of rows 4k .. 4k + 3.
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const __m512 low_even = _mm512_shuffle_f32x4(a[j], a[j + 4], 0x88),
                 low_odd = _mm512_shuffle_f32x4(a[j], a[j + 4], 0xdd);
    const __m512 high_even = _mm512_shuffle_f32x4(a[j + 8], a[j + 12], 0x88);
    const __m512 high_odd = _mm512_shuffle_f32x4(a[j + 8], a[j + 12], 0xdd);
    columns[j].v = _mm512_shuffle_f32x4(low_even, high_even, 0x88);
    columns[j + 8].v = _mm512_shuffle_f32x4(low_even, high_even, 0xdd);
    columns[j + 4].v = _mm512_shuffle_f32x4(low_odd, high_odd, 0x88);
    columns[j + 12].v = _mm512_shuffle_f32x4(low_odd, high_odd, 0xdd);
  }
}

#else

CROSSOVER_INLINE I16 widen_i8(const void* p) {
  const __m128i bytes = load_16_bytes(p);
  return {_mm256_cvtepi8_epi32(bytes), _mm256_cvtepi8_epi32(_mm_unpackhi_epi64(bytes, bytes))};
}
CROSSOVER_INLINE I16 widen_u16(const void* p) {
  return {_mm256_cvtepu16_epi32(load_16_bytes(p)),
          _mm256_cvtepu16_epi32(load_16_bytes(static_cast<const char*>(p) + 16))};
}
CROSSOVER_INLINE F16 load_halves(const void* p) {
  return {_mm256_cvtph_ps(load_16_bytes(p)), _mm256_cvtph_ps(load_16_bytes(static_cast<const char*>(p) + 16))};
}
CROSSOVER_INLINE void store_halves(void* p, F16 x) {
  _mm_storeu_si128(static_cast<__m128i*>(p), _mm256_cvtps_ph(x.a, _MM_FROUND_TO_NEAREST_INT));
  _mm_storeu_si128(static_cast<__m128i*>(p) + 1, _mm256_cvtps_ph(x.b, _MM_FROUND_TO_NEAREST_INT));
}
// Sixteen values below 2^16, in order.
CROSSOVER_INLINE __m256i narrow_to_u16(I16 x) { return _mm256_permute4x64_epi64(_mm256_packus_epi32(x.a, x.b), 0xd8); }
CROSSOVER_INLINE void store_low_halves(void* p, I16 x) {
  const __m256i mask = _mm256_set1_epi32(0xffff);
  _mm256_storeu_si256(static_cast<__m256i*>(p),
                      narrow_to_u16({_mm256_and_si256(x.a, mask), _mm256_and_si256(x.b, mask)}));
}
CROSSOVER_INLINE void store_low_bytes(void* p, I16 x) {
  const __m256i mask = _mm256_set1_epi32(0xff);
  const __m256i halves = narrow_to_u16({_mm256_and_si256(x.a, mask), _mm256_and_si256(x.b, mask)});
  _mm_storeu_si128(static_cast<__m128i*>(p),
                   _mm_packus_epi16(_mm256_castsi256_si128(halves), _mm256_extracti128_si256(halves, 1)));
}
template <int n>
CROSSOVER_INLINE I16 shift_right_logical(I16 x) {
  return {_mm256_srli_epi32(x.a, n), _mm256_srli_epi32(x.b, n)};
}
CROSSOVER_INLINE F16 nearest(F16 x) {
  constexpr int kMode = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  return {_mm256_round_ps(x.a, kMode), _mm256_round_ps(x.b, kMode)};
}
CROSSOVER_INLINE unsigned lane_bits(M16 m) {
  return static_cast<unsigned>(_mm256_movemask_ps(m.a)) | static_cast<unsigned>(_mm256_movemask_ps(m.b)) << 8;
}

CROSSOVER_INLINE void transpose_8x8(const float* rows /* 16 apart */, __m256* columns) {
  __m256 a[8], b[8];
#pragma GCC unroll 4
  for (int i = 0; i < 8; i += 2) {
    const __m256 even = _mm256_loadu_ps(rows + 16 * i), odd = _mm256_loadu_ps(rows + 16 * (i + 1));
    a[i] = _mm256_unpacklo_ps(even, odd);
    a[i + 1] = _mm256_unpackhi_ps(even, odd);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 8; i += 4) {
    b[i] = _mm256_shuffle_ps(a[i], a[i + 2], 0x44);
    b[i + 1] = _mm256_shuffle_ps(a[i], a[i + 2], 0xee);
    b[i + 2] = _mm256_shuffle_ps(a[i + 1], a[i + 3], 0x44);
    b[i + 3] = _mm256_shuffle_ps(a[i + 1], a[i + 3], 0xee);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    columns[i] = _mm256_permute2f128_ps(b[i], b[i + 4], 0x20);
    columns[i + 4] = _mm256_permute2f128_ps(b[i], b[i + 4], 0x31);
  }
}

// Lane g of column i is element i of row g.
CROSSOVER_INLINE void transpose(const float* rows /* [16, 16] */, F16* columns) {
  for (int right = 0; right < 16; right += 8) {
    __m256 top[8], bottom[8];
    transpose_8x8(rows + right, top);
    transpose_8x8(rows + 16 * 8 + right, bottom);
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) columns[right + i] = {top[i], bottom[i]};
  }
}

#endif

}  // namespace crossover::cpu::CROSSOVER_ISA

#endif
