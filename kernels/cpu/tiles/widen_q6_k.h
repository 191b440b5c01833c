// Q6_K weights in panels to tiles of bf16, by way of f16: 32 weights an instruction.
//
// A code becomes the highest bits of the mantissa of an f16 between 64 and 128, one multiplication and addition make it (code - 32) times
// its factor, and a rounding shift by three places leaves a mantissa of bf16. The five bits of the exponent stay what they were, where
// bf16 has eight: so every number is 2^-112 times as large as it was, exactly, and zeros stay zeros. Five instructions for 32 weights; ten
// where each is computed in f32 (0.097 against 0.055 ns a weight with 16 tokens, all in the caches of a Granite Rapids core).
//
// What is lost: a factor is rounded to 9 bits, because 96 times it has to fit an f16 for code 32 to come out as zero (relative error up to
// 2^-9), a weight to the 8 of bf16 (2^-8) by way of 11.
#pragma once

#include "kernels/cpu/micro/panel_q6_k.h"
#include "kernels/cpu/tiles/bf16.h"
#include "kernels/cpu/tiles/tile_products.h"
#include "kernels/formats/formats.h"

namespace crossover::cpu::CROSSOVER_ISA {

// Factors are multiplied by 2^10: the least one, 2^-24, gives f16 in the normal range, and those below kMostFactor times any scale do not
// overflow. Weights of larger ones, which are 16 and more, go through f32.
inline constexpr float kLargerFactor = 0x1p10f, kWidenedQ6_K = kLargerFactor * 0x1p-112f;
inline constexpr std::uint16_t kMostFactor = 0x1c00;  // 2^-8 as f16

// The bits of one weight times kWidenedQ6_K; what is not a number stays so.
inline std::uint32_t widened(int code, std::uint16_t d, std::int8_t scale) {
  const float factor = f16_to_f32(d) * static_cast<float>(scale);
  if ((d & 0x7fff) < kMostFactor) {
    const auto nine_bits = static_cast<std::uint16_t>((f32_to_f16(factor * kLargerFactor) + 2) & 0xfffc);
    const unsigned x = f32_to_f16(static_cast<float>(code - 32) * f16_to_f32(nine_bits));
    return ((x & 0x7fff) + 4) >> 3 | (x & 0x8000);
  }
  const float x = static_cast<float>(code - 32) * factor * kWidenedQ6_K;
  return x != x ? 0x7fc0u : (__builtin_bit_cast(std::uint32_t, x) + 0x8000) >> 16;  // ties away from zero
}

// Group g of a block: 16 columns of 32 rows, half of a step. The pairs of a quad are its values 0 and 2, and 1 and 3.
[[gnu::noinline]] inline void widen_one_by_one(const PanelQ6_K& from, int g, WeightStep& to) {
  for (std::int64_t row = 0; row < kPanelRows; ++row) {
    const std::int64_t half = row / kSide, r = row % kSide;
    const PanelQ6_K::Half& codes = from.half[g][half];
    const auto bits = [&](int quad, int i) {
      const int code = (codes.low[quad / 2][4 * r + i] >> 4 * (quad % 2) & 15) | (codes.high[4 * r + i] >> 2 * quad & 3) << 4;
      return widened(code, from.factors.d[row], from.factors.scales[g][row]);
    };
    for (int p = 0; p < 8; ++p) to.half[half].pair[8 * (g % 2) + p][r] = bits(p / 2, p % 2) | bits(p / 2, p % 2 + 2) << 16;
  }
}

#if defined(__AVX512FP16__)

// 64 + code of values 0 and 2, or 1 and 3, of every quad.
template <int first>
CROSSOVER_INLINE __m512h lifted(__m512i quads) {
  const __m512i at = first == 0 ? _mm512_slli_epi16(quads, 4) : _mm512_srli_epi16(quads, 4);
  // 0xea: (first & second) | third
  return _mm512_castsi512_ph(_mm512_ternarylogic_epi32(at, _mm512_set1_epi16(63 << 4), _mm512_set1_epi16(0x5400), 0xea));
}

// As a signed number an f16 below zero is its magnitude - 2^15, so that the shift leaves four ones on top of the magnitude: one is the sign.
CROSSOVER_INLINE __m512i narrowed(__m512h x) {
  const __m512i shifted = _mm512_mulhrs_epi16(_mm512_castph_si512(x), _mm512_set1_epi16(1 << 12));
  return _mm512_and_si512(shifted, _mm512_set1_epi16(static_cast<short>(0x8fff)));
}

// Pairs of rows' factors: lane i of half h is row 16 h + i / 2.
alignas(64) inline constexpr std::uint16_t kTwice[2][32] = {
    {0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13, 14, 14, 15, 15},
    {16, 16, 17, 17, 18, 18, 19, 19, 20, 20, 21, 21, 22, 22, 23, 23, 24, 24, 25, 25, 26, 26, 27, 27, 28, 28, 29, 29, 30, 30, 31, 31}};

CROSSOVER_INLINE void widen_group(const PanelQ6_K& from, int g, WeightStep& to) {
  const __m512i d = _mm512_loadu_si512(from.factors.d), magnitude = _mm512_and_si512(d, _mm512_set1_epi16(0x7fff));
  if (_mm512_cmpge_epu16_mask(magnitude, _mm512_set1_epi16(kMostFactor)) != 0) [[unlikely]] return widen_one_by_one(from, g, to);
  const __m512h scales = _mm512_cvtepi16_ph(_mm512_cvtepi8_epi16(load_32_bytes(from.factors.scales[g])));
  const __m512h product = _mm512_mul_ph(_mm512_mul_ph(_mm512_castsi512_ph(d), _mm512_set1_ph(kLargerFactor)), scales);
  const __m512i factors = _mm512_and_si512(_mm512_add_epi16(_mm512_castph_si512(product), _mm512_set1_epi16(2)), _mm512_set1_epi16(-4));
#pragma GCC unroll 2
  for (int half = 0; half < 2; ++half) {
    const __m512h factor = _mm512_castsi512_ph(_mm512_permutexvar_epi16(_mm512_load_si512(kTwice[half]), factors));
    const __m512h zero = _mm512_mul_ph(factor, _mm512_set1_ph(-96));
    Bytes quad[4];
    unpack_quads(from.half[g], half, quad);
    std::uint32_t(*pair)[16] = to.half[half].pair + 8 * (g % 2);
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) {
      _mm512_store_si512(pair[2 * q], narrowed(_mm512_fmadd_ph(lifted<0>(quad[q]), factor, zero)));
      _mm512_store_si512(pair[2 * q + 1], narrowed(_mm512_fmadd_ph(lifted<1>(quad[q]), factor, zero)));
    }
  }
}

#else

CROSSOVER_INLINE void widen_group(const PanelQ6_K& from, int g, WeightStep& to) { widen_one_by_one(from, g, to); }

#endif

// 256 columns of a panel.
struct PanelBlock {
  // Activations are as much too large as weights may be too small for sums to stay in the normal range; sums are multiplied by the rest.
  static constexpr float kActivations = 0x1p64f, kSums = 0x1p38f;
  static_assert(kWidenedQ6_K * kActivations * kSums == 1);

  // The block at column 256 * depth of `depths` of panel `panel`.
  static PanelBlock of(const std::byte* weights, std::int64_t, std::int64_t panel, std::int64_t depth, std::int64_t depths) {
    return {reinterpret_cast<const PanelQ6_K*>(weights) + panel * depths + depth};
  }
  // kStep values; the pairs of a quad as widen_group has them.
  CROSSOVER_INLINE static void pack(const float* x, std::uint32_t* to) {
#if defined(__AVX512BF16__)
    const __m512 larger = _mm512_set1_ps(kActivations);
    const auto pairs = _mm512_cvtne2ps_pbh(_mm512_mul_ps(_mm512_loadu_ps(x + 16), larger), _mm512_mul_ps(_mm512_loadu_ps(x), larger));
    const __m512i order = _mm512_set4_epi32(0x0f0e0b0a, 0x0d0c0908, 0x07060302, 0x05040100);
    _mm512_storeu_si512(to, _mm512_shuffle_epi8(reinterpret_cast<__m512i>(pairs), order));
#else
    for (int q = 0; q < kStep; q += 4)
      for (int i = 0; i < 2; ++i) *to++ = bf16_pair(x[q + i] * kActivations, x[q + i + 2] * kActivations);
#endif
  }
  CROSSOVER_INLINE void widen(int piece, WeightStep& to) const { widen_group(*block, piece, to); }
  CROSSOVER_INLINE void prefetch(int piece) const {
    constexpr std::int64_t kBytes = sizeof(PanelQ6_K) / kBlockPieces;
    for (std::int64_t at = 0; at < kBytes; at += 64) __builtin_prefetch(reinterpret_cast<const char*>(block) + piece * kBytes + at);
  }

  const PanelQ6_K* block;
};

}  // namespace crossover::cpu::CROSSOVER_ISA
