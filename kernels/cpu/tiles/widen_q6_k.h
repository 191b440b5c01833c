// Q6_K weights in panels to tiles of bf16.
#pragma once

#include "kernels/cpu/micro/panel_q6_k.h"
#include "kernels/cpu/tiles/tile_products.h"

namespace crossover::cpu::CROSSOVER_ISA {

#if defined(__AVX512BF16__)

// 64 + code of value i of every quad. The code becomes the highest bits of the mantissa of a number between 64 and 128: a shift and an
// insertion, where a conversion would need the other bits cleared first.
template <int i>
CROSSOVER_INLINE __m512 lifted(__m512i quads) {
  constexpr int kAt = 17;  // of the code's bits in [64, 128)
  __m512i at;
  if constexpr (8 * i <= kAt) at = _mm512_slli_epi32(quads, kAt - 8 * i);
  else at = _mm512_srli_epi32(quads, 8 * i - kAt);
  // 0xea: (first & second) | third
  return _mm512_castsi512_ps(_mm512_ternarylogic_epi32(at, _mm512_set1_epi32(63 << kAt), _mm512_set1_epi32(0x42800000), 0xea));
}

// Values i and i + 1 of each quad times their row's factor, rounded to nearest, ties away from zero; zero: -96 * factor, which is exact.
// Rounded by addition, because products of tiles keep port 5 busy, and vcvtne2ps2bf16 and the permutation after it go there alone: 0.055
// against 0.070 ns a weight, 256 weights at a time.
template <int i>
CROSSOVER_INLINE void store_weights(__m512i quads, __m512 factor, __m512 zero, std::uint32_t* to) {
  const __m512i half = _mm512_set1_epi32(0x8000);
  const __m512i first = _mm512_add_epi32(_mm512_castps_si512(_mm512_fmadd_ps(lifted<i>(quads), factor, zero)), half);
  const __m512i second = _mm512_add_epi32(_mm512_castps_si512(_mm512_fmadd_ps(lifted<i + 1>(quads), factor, zero)), half);
  _mm512_store_si512(to, _mm512_ternarylogic_epi32(second, _mm512_set1_epi32(-0x10000), _mm512_srli_epi32(first, 16), 0xea));
}

CROSSOVER_INLINE void widen_piece(const PanelQ6_K& from, int piece, WeightStep* to) {
  const int g = piece / 2, half = piece % 2;
  const __m512 stored = _mm512_cvtph_ps(load_32_bytes(from.factors.d + kSide * half));
  // What is not a number stays so: without the bits that the rounding might carry into the sign.
  const __m512 d = _mm512_mask_mov_ps(stored, _mm512_cmp_ps_mask(stored, stored, _CMP_UNORD_Q), _mm512_set1_ps(__builtin_nanf("")));
  const __m512 factor = _mm512_mul_ps(d, _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(load_16_bytes(from.factors.scales[g] + kSide * half))));
  const __m512 zero = _mm512_mul_ps(factor, _mm512_set1_ps(-96.0f));
  Bytes quad[4];
  unpack_quads(from.half[g], half, quad);
  std::uint32_t(*pair)[16] = to[g / 2].half[half].pair + 8 * (g % 2);
  for (int q = 0; q < 4; ++q) {
    store_weights<0>(quad[q], factor, zero, pair[2 * q]);
    store_weights<2>(quad[q], factor, zero, pair[2 * q + 1]);
  }
}

#else

CROSSOVER_INLINE void widen_piece(const PanelQ6_K& from, int piece, WeightStep* to) {
  const int g = piece / 2, half = piece % 2;
  const PanelQ6_K::Half& codes = from.half[g][half];
  std::uint32_t(*pair)[16] = to[g / 2].half[half].pair + 8 * (g % 2);
  for (int r = 0; r < kSide; ++r) {
    const std::int64_t row = kSide * half + r;
    const float factor = half_to_float(from.factors.d[row]) * static_cast<float>(from.factors.scales[g][row]);
    const auto value = [&](int quad, int i) {
      const int code = (codes.low[quad / 2][4 * r + i] >> 4 * (quad % 2) & 15) | (codes.high[4 * r + i] >> 2 * quad & 3) << 4;
      return static_cast<float>(code - 32) * factor;
    };
    const auto rounded = [](float x) { return x != x ? 0x7fc00000u : __builtin_bit_cast(std::uint32_t, x) + 0x8000; };
    for (int p = 0; p < 8; ++p) pair[p][r] = rounded(value(p / 2, p % 2 * 2)) >> 16 | (rounded(value(p / 2, p % 2 * 2 + 1)) & 0xffff0000u);
  }
}

#endif

// 256 columns of a panel.
struct PanelBlock {
  static constexpr int kPieces = 32;  // 16 groups of 16 values, of rows 0 .. 15 and 16 .. 31

  // The block at column 256 * depth of `depths` of panel `panel`.
  static PanelBlock of(const std::byte* weights, std::int64_t, std::int64_t panel, std::int64_t depth, std::int64_t depths) {
    return {reinterpret_cast<const PanelQ6_K*>(weights) + panel * depths + depth};
  }
  CROSSOVER_INLINE void widen(int piece, WeightStep* to) const { widen_piece(*block, piece, to); }
  CROSSOVER_INLINE void prefetch(int piece) const {
    constexpr std::int64_t kBytes = sizeof(PanelQ6_K) / kPieces;
    for (std::int64_t at = 0; at < kBytes; at += 64) __builtin_prefetch(reinterpret_cast<const char*>(block) + piece * kBytes + at);
  }

  const PanelQ6_K* block;
};

}  // namespace crossover::cpu::CROSSOVER_ISA
