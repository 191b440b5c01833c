// Few tokens times f32, f16 or bf16 weights: f32 products, sixteen partial sums per output.
#pragma once

#include "kernels/cpu/micro/bytes.h"
#include "kernels/cpu/micro/prefetch.h"
#include "kernels/cpu/micro/simd.h"
#include "kernels/formats/formats.h"

namespace crossover::cpu::CROSSOVER_ISA {

CROSSOVER_INLINE std::uint16_t read_u16(const std::byte* p) {
  std::uint16_t bits;
  __builtin_memcpy(&bits, p, sizeof bits);
  return bits;
}

#if !defined(__AVX2__)
CROSSOVER_INLINE float half_to_float(std::uint16_t bits) { return f16_to_f32(bits); }
#endif
CROSSOVER_INLINE float read_f16(const std::byte* p) { return half_to_float(read_u16(p)); }

struct F32Weight {
  static constexpr std::int64_t kBytes = 4;
  static CROSSOVER_INLINE F16 read(const std::byte* p) { return load(reinterpret_cast<const float*>(p)); }
};

struct BF16Weight {
  static constexpr std::int64_t kBytes = 2;
  static CROSSOVER_INLINE F16 read(const std::byte* p) {
#if defined(__AVX512F__)
    const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
    return {_mm512_castsi512_ps(_mm512_slli_epi32(wide, 16))};
#elif defined(__AVX2__)
    const __m256i low = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    const __m256i high = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p) + 1));
    return {_mm256_castsi256_ps(_mm256_slli_epi32(low, 16)), _mm256_castsi256_ps(_mm256_slli_epi32(high, 16))};
#else
    F16 r;
    for (int i = 0; i < 16; ++i) r.v[i] = __builtin_bit_cast(float, static_cast<std::uint32_t>(read_u16(p + 2 * i)) << 16);
    return r;
#endif
  }
};

struct HalfWeight {
  static constexpr std::int64_t kBytes = 2;
  static CROSSOVER_INLINE F16 read(const std::byte* p) {
#if defined(__AVX512F__)
    return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
#elif defined(__AVX2__)
    return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))),
            _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p) + 1))};
#else
    F16 r;
    for (int i = 0; i < 16; ++i) r.v[i] = read_f16(p + 2 * i);
    return r;
#endif
  }
};

// The last dim % 16 weights with zeros after them.
template <class Weight>
CROSSOVER_INLINE F16 read_tail(const std::byte* p, std::int64_t n) {
  alignas(64) std::byte lanes[16 * Weight::kBytes] = {};
  __builtin_memcpy(lanes, p, static_cast<std::size_t>(n * Weight::kBytes));
  return Weight::read(lanes);
}

// Activation rows are `stride` floats apart and zero-padded to a multiple of 16.
template <class Weight, int kRows, int kTokens>
CROSSOVER_INLINE void dot_block(const std::byte* w, std::int64_t row_bytes, std::int64_t dim, const float* x, std::int64_t stride,
                                float* out, std::int64_t out_stride) {
  F16 total[kRows][kTokens];
  for (int r = 0; r < kRows; ++r)
    for (int t = 0; t < kTokens; ++t) total[r][t] = zero();
  const std::int64_t whole = dim / 16 * 16;
  for (std::int64_t k = 0; k < whole; k += 16) {
    F16 weight[kRows];
    prefetch_weights<kRows * 16 * Weight::kBytes>(w + kRows * k * Weight::kBytes);
    for (int r = 0; r < kRows; ++r) weight[r] = Weight::read(w + r * row_bytes + k * Weight::kBytes);
    for (int t = 0; t < kTokens; ++t) {
      const F16 activation = load(x + t * stride + k);
      for (int r = 0; r < kRows; ++r) total[r][t] = fma(weight[r], activation, total[r][t]);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    if (whole < dim) {
      const F16 weight = read_tail<Weight>(w + r * row_bytes + whole * Weight::kBytes, dim - whole);
      for (int t = 0; t < kTokens; ++t) total[r][t] = fma(weight, load(x + t * stride + whole), total[r][t]);
    }
    for (int t = 0; t < kTokens; ++t) out[t * out_stride + r] = sum(total[r][t]);
  }
}

// One token: row after row, because memory is fastest in one stream. More tokens: four rows share the loads of activations.
template <class Weight, int kTokens>
void matvec_float(const std::byte* w, std::int64_t weight_rows, std::int64_t dim, const std::byte* packed, float* out, std::int64_t out_stride) {
  constexpr int kRows = kTokens == 1 ? 1 : 4;
  const std::int64_t row_bytes = dim * Weight::kBytes, stride = (dim + 15) / 16 * 16;
  const float* x = reinterpret_cast<const float*>(packed);
  std::int64_t n = 0;
  for (; n + kRows <= weight_rows; n += kRows)
    dot_block<Weight, kRows, kTokens>(w + n * row_bytes, row_bytes, dim, x, stride, out + n, out_stride);
  for (; n < weight_rows; ++n) dot_block<Weight, 1, kTokens>(w + n * row_bytes, row_bytes, dim, x, stride, out + n, out_stride);
}

}  // namespace crossover::cpu::CROSSOVER_ISA
