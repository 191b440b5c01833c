// Sixteen f32 or i32 lanes in the instruction set this file is compiled for: one zmm, two ymm, or plain arrays. Each operation
// rounds once per lane as IEEE says; only fma() contracts. Lane order and results are the same for all three, so a kernel
// written with these lanes gives the same bits everywhere unless it calls fma() or reduces.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#ifndef CROSSOVER_ISA
#define CROSSOVER_ISA portable
#endif

namespace crossover::cpu::CROSSOVER_ISA {

#define CROSSOVER_INLINE inline __attribute__((always_inline))

#if defined(__AVX512F__)

struct F16 { __m512 v; };   // sixteen floats (not half precision)
struct I16 { __m512i v; };  // sixteen 32-bit integers
struct M16 { __mmask16 v; };

CROSSOVER_INLINE __mmask16 first_lanes(std::int64_t n) { return static_cast<__mmask16>(n >= 16 ? 0xffffu : n <= 0 ? 0u : (1u << n) - 1u); }

CROSSOVER_INLINE F16 load(const float* p) { return {_mm512_loadu_ps(p)}; }
CROSSOVER_INLINE void store(float* p, F16 a) { _mm512_storeu_ps(p, a.v); }
CROSSOVER_INLINE F16 broadcast(float x) { return {_mm512_set1_ps(x)}; }
CROSSOVER_INLINE F16 operator+(F16 a, F16 b) { return {_mm512_add_ps(a.v, b.v)}; }
CROSSOVER_INLINE F16 operator-(F16 a, F16 b) { return {_mm512_sub_ps(a.v, b.v)}; }
CROSSOVER_INLINE F16 operator*(F16 a, F16 b) { return {_mm512_mul_ps(a.v, b.v)}; }
CROSSOVER_INLINE F16 operator/(F16 a, F16 b) { return {_mm512_div_ps(a.v, b.v)}; }
CROSSOVER_INLINE F16 fma(F16 a, F16 b, F16 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }  // a*b + c
CROSSOVER_INLINE F16 max(F16 a, F16 b) { return {_mm512_max_ps(a.v, b.v)}; }
CROSSOVER_INLINE F16 min(F16 a, F16 b) { return {_mm512_min_ps(a.v, b.v)}; }
CROSSOVER_INLINE F16 abs(F16 a) { return {_mm512_abs_ps(a.v)}; }
CROSSOVER_INLINE F16 sqrt(F16 a) { return {_mm512_sqrt_ps(a.v)}; }
CROSSOVER_INLINE M16 greater(F16 a, F16 b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_GT_OQ)}; }
CROSSOVER_INLINE M16 equal(F16 a, F16 b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_EQ_OQ)}; }
CROSSOVER_INLINE M16 operator&(M16 a, M16 b) { return {static_cast<__mmask16>(a.v & b.v)}; }
CROSSOVER_INLINE bool any(M16 m) { return m.v != 0; }
CROSSOVER_INLINE F16 select(M16 m, F16 yes, F16 no) { return {_mm512_mask_blend_ps(m.v, no.v, yes.v)}; }
CROSSOVER_INLINE I16 select(M16 m, I16 yes, I16 no) { return {_mm512_mask_blend_epi32(m.v, no.v, yes.v)}; }
CROSSOVER_INLINE float sum(F16 a) { return _mm512_reduce_add_ps(a.v); }
CROSSOVER_INLINE float max_lane(F16 a) { return _mm512_reduce_max_ps(a.v); }
CROSSOVER_INLINE I16 broadcast_i(std::int32_t x) { return {_mm512_set1_epi32(x)}; }
CROSSOVER_INLINE I16 load_i(const std::int32_t* p) { return {_mm512_loadu_si512(p)}; }
CROSSOVER_INLINE void store(std::int32_t* p, I16 a) { _mm512_storeu_si512(p, a.v); }
CROSSOVER_INLINE I16 operator+(I16 a, I16 b) { return {_mm512_add_epi32(a.v, b.v)}; }
CROSSOVER_INLINE I16 operator-(I16 a, I16 b) { return {_mm512_sub_epi32(a.v, b.v)}; }
CROSSOVER_INLINE I16 operator&(I16 a, I16 b) { return {_mm512_and_si512(a.v, b.v)}; }
CROSSOVER_INLINE I16 min(I16 a, I16 b) { return {_mm512_min_epi32(a.v, b.v)}; }
CROSSOVER_INLINE I16 max(I16 a, I16 b) { return {_mm512_max_epi32(a.v, b.v)}; }
template <int n> CROSSOVER_INLINE I16 shift_left(I16 a) { return {_mm512_slli_epi32(a.v, n)}; }
CROSSOVER_INLINE F16 to_float(I16 a) { return {_mm512_cvtepi32_ps(a.v)}; }
CROSSOVER_INLINE I16 truncate(F16 a) { return {_mm512_cvttps_epi32(a.v)}; }
CROSSOVER_INLINE I16 round_even(F16 a) { return {_mm512_cvtps_epi32(a.v)}; }  // default rounding mode
CROSSOVER_INLINE I16 as_int(F16 a) { return {_mm512_castps_si512(a.v)}; }
CROSSOVER_INLINE F16 as_float(I16 a) { return {_mm512_castsi512_ps(a.v)}; }

#elif defined(__AVX2__)

struct F16 { __m256 a, b; };
struct I16 { __m256i a, b; };
struct M16 { __m256 a, b; };  // all bits of a lane

CROSSOVER_INLINE F16 load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
CROSSOVER_INLINE void store(float* p, F16 x) { _mm256_storeu_ps(p, x.a), _mm256_storeu_ps(p + 8, x.b); }
CROSSOVER_INLINE F16 broadcast(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
CROSSOVER_INLINE F16 operator+(F16 x, F16 y) { return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
CROSSOVER_INLINE F16 operator-(F16 x, F16 y) { return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)}; }
CROSSOVER_INLINE F16 operator*(F16 x, F16 y) { return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
CROSSOVER_INLINE F16 operator/(F16 x, F16 y) { return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }
CROSSOVER_INLINE F16 fma(F16 x, F16 y, F16 z) { return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)}; }
CROSSOVER_INLINE F16 max(F16 x, F16 y) { return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }
CROSSOVER_INLINE F16 min(F16 x, F16 y) { return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)}; }
CROSSOVER_INLINE F16 abs(F16 x) {
  const __m256 mask = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
  return {_mm256_and_ps(x.a, mask), _mm256_and_ps(x.b, mask)};
}
CROSSOVER_INLINE F16 sqrt(F16 x) { return {_mm256_sqrt_ps(x.a), _mm256_sqrt_ps(x.b)}; }
CROSSOVER_INLINE M16 greater(F16 x, F16 y) { return {_mm256_cmp_ps(x.a, y.a, _CMP_GT_OQ), _mm256_cmp_ps(x.b, y.b, _CMP_GT_OQ)}; }
CROSSOVER_INLINE M16 equal(F16 x, F16 y) { return {_mm256_cmp_ps(x.a, y.a, _CMP_EQ_OQ), _mm256_cmp_ps(x.b, y.b, _CMP_EQ_OQ)}; }
CROSSOVER_INLINE M16 operator&(M16 x, M16 y) { return {_mm256_and_ps(x.a, y.a), _mm256_and_ps(x.b, y.b)}; }
CROSSOVER_INLINE bool any(M16 m) { return _mm256_movemask_ps(_mm256_or_ps(m.a, m.b)) != 0; }
CROSSOVER_INLINE F16 select(M16 m, F16 yes, F16 no) { return {_mm256_blendv_ps(no.a, yes.a, m.a), _mm256_blendv_ps(no.b, yes.b, m.b)}; }
CROSSOVER_INLINE I16 select(M16 m, I16 yes, I16 no) {
  return {_mm256_blendv_epi8(no.a, yes.a, _mm256_castps_si256(m.a)), _mm256_blendv_epi8(no.b, yes.b, _mm256_castps_si256(m.b))};
}
CROSSOVER_INLINE float sum(F16 x) {
  const __m256 s = _mm256_add_ps(x.a, x.b);
  __m128 t = _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
  t = _mm_add_ps(t, _mm_movehl_ps(t, t));
  return _mm_cvtss_f32(_mm_add_ss(t, _mm_movehdup_ps(t)));
}
CROSSOVER_INLINE float max_lane(F16 x) {
  const __m256 s = _mm256_max_ps(x.a, x.b);
  __m128 t = _mm_max_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
  t = _mm_max_ps(t, _mm_movehl_ps(t, t));
  return _mm_cvtss_f32(_mm_max_ss(t, _mm_movehdup_ps(t)));
}
CROSSOVER_INLINE I16 broadcast_i(std::int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
CROSSOVER_INLINE I16 load_i(const std::int32_t* p) {
  return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)), _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 8))};
}
CROSSOVER_INLINE void store(std::int32_t* p, I16 x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x.a), _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 8), x.b);
}
CROSSOVER_INLINE I16 operator+(I16 x, I16 y) { return {_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)}; }
CROSSOVER_INLINE I16 operator-(I16 x, I16 y) { return {_mm256_sub_epi32(x.a, y.a), _mm256_sub_epi32(x.b, y.b)}; }
CROSSOVER_INLINE I16 operator&(I16 x, I16 y) { return {_mm256_and_si256(x.a, y.a), _mm256_and_si256(x.b, y.b)}; }
CROSSOVER_INLINE I16 min(I16 x, I16 y) { return {_mm256_min_epi32(x.a, y.a), _mm256_min_epi32(x.b, y.b)}; }
CROSSOVER_INLINE I16 max(I16 x, I16 y) { return {_mm256_max_epi32(x.a, y.a), _mm256_max_epi32(x.b, y.b)}; }
template <int n> CROSSOVER_INLINE I16 shift_left(I16 x) { return {_mm256_slli_epi32(x.a, n), _mm256_slli_epi32(x.b, n)}; }
CROSSOVER_INLINE F16 to_float(I16 x) { return {_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)}; }
CROSSOVER_INLINE I16 truncate(F16 x) { return {_mm256_cvttps_epi32(x.a), _mm256_cvttps_epi32(x.b)}; }
CROSSOVER_INLINE I16 round_even(F16 x) { return {_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b)}; }
CROSSOVER_INLINE I16 as_int(F16 x) { return {_mm256_castps_si256(x.a), _mm256_castps_si256(x.b)}; }
CROSSOVER_INLINE F16 as_float(I16 x) { return {_mm256_castsi256_ps(x.a), _mm256_castsi256_ps(x.b)}; }

#else

struct F16 { float v[16]; };
struct I16 { std::int32_t v[16]; };
struct M16 { bool v[16]; };

#define CROSSOVER_LANES(Type, expr) Type r; for (int i = 0; i < 16; ++i) r.v[i] = (expr); return r
CROSSOVER_INLINE F16 load(const float* p) { CROSSOVER_LANES(F16, p[i]); }
CROSSOVER_INLINE void store(float* p, F16 x) { for (int i = 0; i < 16; ++i) p[i] = x.v[i]; }
CROSSOVER_INLINE F16 broadcast(float x) { CROSSOVER_LANES(F16, x); }
CROSSOVER_INLINE F16 operator+(F16 x, F16 y) { CROSSOVER_LANES(F16, x.v[i] + y.v[i]); }
CROSSOVER_INLINE F16 operator-(F16 x, F16 y) { CROSSOVER_LANES(F16, x.v[i] - y.v[i]); }
CROSSOVER_INLINE F16 operator*(F16 x, F16 y) { CROSSOVER_LANES(F16, x.v[i] * y.v[i]); }
CROSSOVER_INLINE F16 operator/(F16 x, F16 y) { CROSSOVER_LANES(F16, x.v[i] / y.v[i]); }
CROSSOVER_INLINE F16 fma(F16 x, F16 y, F16 z) { CROSSOVER_LANES(F16, x.v[i] * y.v[i] + z.v[i]); }  // no hardware: rounds twice
CROSSOVER_INLINE F16 max(F16 x, F16 y) { CROSSOVER_LANES(F16, x.v[i] > y.v[i] ? x.v[i] : y.v[i]); }
CROSSOVER_INLINE F16 min(F16 x, F16 y) { CROSSOVER_LANES(F16, x.v[i] < y.v[i] ? x.v[i] : y.v[i]); }
CROSSOVER_INLINE F16 abs(F16 x) { CROSSOVER_LANES(F16, __builtin_fabsf(x.v[i])); }
CROSSOVER_INLINE F16 sqrt(F16 x) { CROSSOVER_LANES(F16, __builtin_sqrtf(x.v[i])); }
CROSSOVER_INLINE M16 greater(F16 x, F16 y) { CROSSOVER_LANES(M16, x.v[i] > y.v[i]); }
CROSSOVER_INLINE M16 equal(F16 x, F16 y) { CROSSOVER_LANES(M16, x.v[i] == y.v[i]); }
CROSSOVER_INLINE M16 operator&(M16 x, M16 y) { CROSSOVER_LANES(M16, x.v[i] && y.v[i]); }
CROSSOVER_INLINE bool any(M16 m) { bool r = false; for (int i = 0; i < 16; ++i) r = r || m.v[i]; return r; }
CROSSOVER_INLINE F16 select(M16 m, F16 yes, F16 no) { CROSSOVER_LANES(F16, m.v[i] ? yes.v[i] : no.v[i]); }
CROSSOVER_INLINE I16 select(M16 m, I16 yes, I16 no) { CROSSOVER_LANES(I16, m.v[i] ? yes.v[i] : no.v[i]); }
CROSSOVER_INLINE float sum(F16 x) { float r = 0; for (int i = 0; i < 16; ++i) r += x.v[i]; return r; }
CROSSOVER_INLINE float max_lane(F16 x) { float r = x.v[0]; for (int i = 1; i < 16; ++i) r = x.v[i] > r ? x.v[i] : r; return r; }
CROSSOVER_INLINE I16 broadcast_i(std::int32_t x) { CROSSOVER_LANES(I16, x); }
CROSSOVER_INLINE I16 load_i(const std::int32_t* p) { CROSSOVER_LANES(I16, p[i]); }
CROSSOVER_INLINE void store(std::int32_t* p, I16 x) { for (int i = 0; i < 16; ++i) p[i] = x.v[i]; }
CROSSOVER_INLINE I16 operator+(I16 x, I16 y) { CROSSOVER_LANES(I16, x.v[i] + y.v[i]); }
CROSSOVER_INLINE I16 operator-(I16 x, I16 y) { CROSSOVER_LANES(I16, x.v[i] - y.v[i]); }
CROSSOVER_INLINE I16 operator&(I16 x, I16 y) { CROSSOVER_LANES(I16, x.v[i] & y.v[i]); }
CROSSOVER_INLINE I16 min(I16 x, I16 y) { CROSSOVER_LANES(I16, x.v[i] < y.v[i] ? x.v[i] : y.v[i]); }
CROSSOVER_INLINE I16 max(I16 x, I16 y) { CROSSOVER_LANES(I16, x.v[i] > y.v[i] ? x.v[i] : y.v[i]); }
template <int n> CROSSOVER_INLINE I16 shift_left(I16 x) { CROSSOVER_LANES(I16, static_cast<std::int32_t>(static_cast<std::uint32_t>(x.v[i]) << n)); }
CROSSOVER_INLINE F16 to_float(I16 x) { CROSSOVER_LANES(F16, static_cast<float>(x.v[i])); }
CROSSOVER_INLINE I16 truncate(F16 x) { CROSSOVER_LANES(I16, static_cast<std::int32_t>(x.v[i])); }
CROSSOVER_INLINE I16 round_even(F16 x) { CROSSOVER_LANES(I16, static_cast<std::int32_t>(__builtin_nearbyintf(x.v[i]))); }
CROSSOVER_INLINE I16 as_int(F16 x) { CROSSOVER_LANES(I16, __builtin_bit_cast(std::int32_t, x.v[i])); }
CROSSOVER_INLINE F16 as_float(I16 x) { CROSSOVER_LANES(F16, __builtin_bit_cast(float, x.v[i])); }
#undef CROSSOVER_LANES

#endif

CROSSOVER_INLINE F16 zero() { return broadcast(0.0f); }

// The first n of sixteen lanes, n >= 1: the others read as zeros and are not written.
CROSSOVER_INLINE F16 load_n(const float* p, std::int64_t n) {
#if defined(__AVX512F__)
  return {_mm512_maskz_loadu_ps(first_lanes(n), p)};
#else
  if (n >= 16) return load(p);
  float lanes[16] = {};
  for (std::int64_t i = 0; i < n; ++i) lanes[i] = p[i];
  return load(lanes);
#endif
}
CROSSOVER_INLINE void store_n(float* p, F16 x, std::int64_t n) {
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(p, first_lanes(n), x.v);
#else
  if (n >= 16) return store(p, x);
  float lanes[16];
  store(lanes, x);
  for (std::int64_t i = 0; i < n; ++i) p[i] = lanes[i];
#endif
}

// e^x by 2^n times a degree-6 polynomial (Cephes expf coefficients, minimax on [-ln2/2, ln2/2]): relative error below 3e-7;
// inputs are clamped to [-87.33, 88.37], so e^-inf gives about 1e-38, not 0.
CROSSOVER_INLINE F16 exp(F16 x) {
  x = min(max(x, broadcast(-87.33654f)), broadcast(88.37626f));
  const I16 n = round_even(x * broadcast(1.44269504088896341f));
  const F16 nf = to_float(n);
  F16 r = fma(nf, broadcast(-0.693359375f), x);
  r = fma(nf, broadcast(2.12194440e-4f), r);
  F16 p = broadcast(1.9875691500e-4f);
  p = fma(p, r, broadcast(1.3981999507e-3f));
  p = fma(p, r, broadcast(8.3334519073e-3f));
  p = fma(p, r, broadcast(4.1665795894e-2f));
  p = fma(p, r, broadcast(1.6666665459e-1f));
  p = fma(p, r, broadcast(5.0000001201e-1f));
  p = fma(p, r * r, r + broadcast(1.0f));
  return p * as_float(shift_left<23>(n + broadcast_i(127)));
}

// 1 / x for normal x whose reciprocal is normal too, to 1.5 units in the last place: where there is an estimate of 14 bits, it and a
// Newton step take a third of the time of a division.
CROSSOVER_INLINE F16 reciprocal(F16 x) {
#if defined(__AVX512F__)
  const F16 estimate = {_mm512_rcp14_ps(x.v)};
  return fma(estimate, fma(zero() - x, estimate, broadcast(1.0f)), estimate);
#else
  return broadcast(1.0f) / x;
#endif
}
CROSSOVER_INLINE F16 sigmoid(F16 x) { return reciprocal(broadcast(1.0f) + exp(zero() - x)); }
CROSSOVER_INLINE F16 silu(F16 x) { return x * sigmoid(x); }

}  // namespace crossover::cpu::CROSSOVER_ISA
