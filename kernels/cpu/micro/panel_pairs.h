// Many tokens times an unpacked panel on AVX-512 VNNI, two groups of 16 values at a time: lanes of a vector alternate between group 2p
// and group 2p + 1 of eight rows, so a broadcast of 64 bits brings the activations of both. Their sums fit 16 bits (panel_activations.h);
// packing those of two vectors puts the two groups of a row side by side in a lane, and one multiply-add of pairs applies both scales.
//
// The bound: multiply-type instructions share two pipes. 32 values of 16 rows take 8 dot products, 1 multiply-add of pairs and 1 of
// floats, so at most 8/10 of the dot-product rate (measured on Zen 4: 76 %; with a 32-bit product for each scale, which takes 11
// instructions and is what panel_products.h does for few tokens, 65 %; with one scale per 64 activations 78 %, at 1.3 times the error).
#pragma once

#if defined(__AVX512F__)

#include "kernels/cpu/micro/panel_products.h"

namespace crossover::cpu::CROSSOVER_ISA {

// 32 values of 32 rows. Vectors of a quad: rows 0 1 4 5 8 9 12 13, rows 2 3 6 7 10 11 14 15, and rows 16 .. 31 likewise, each row's two
// groups side by side, which is how unpacking leaves them and how packing the sums brings the rows back into order.
struct alignas(64) UnpackedPair {
  std::uint8_t quad[4][4][64];  // [quad][vector][8r + 4 * group + i]
  std::int16_t scale[32][2];    // [row][group]
};
struct alignas(64) UnpackedBlock {
  UnpackedPair pair[8];
  float d[32];
};

// The codes of pair p for rows 16v .. 16v + 15: vectors 2v and 2v + 1 of each quad.
CROSSOVER_INLINE void unpack_pair(const PanelQ6_K& from, int p, int v, Bytes codes[4][2]) {
  Bytes first[4], second[4];
  unpack_quads(from.half[2 * p], v, first);
  unpack_quads(from.half[2 * p + 1], v, second);
#pragma GCC unroll 4
  for (int q = 0; q < 4; ++q) {
    codes[q][0] = _mm512_unpacklo_epi32(first[q], second[q]);
    codes[q][1] = _mm512_unpackhi_epi32(first[q], second[q]);
  }
}

// And their scales, row by row.
CROSSOVER_INLINE Bytes pair_scales(const PanelQ6_K::Factors& factors, int p, int v) {
  const __m128i a = load_16_bytes(factors.scales[2 * p] + 16 * v), b = load_16_bytes(factors.scales[2 * p + 1] + 16 * v);
  return _mm512_cvtepi8_epi16(_mm256_set_m128i(_mm_unpackhi_epi8(a, b), _mm_unpacklo_epi8(a, b)));
}

inline void unpack_block(const PanelQ6_K& from, UnpackedBlock& to) {
  alignas(64) PanelQ6_K::Factors factors;
  copy_factors(from, factors);
  for (int p = 0; p < 8; ++p)
    for (int v = 0; v < kPanelVectors; ++v) {
      Bytes codes[4][2];
      unpack_pair(from, p, v, codes);
      for (int q = 0; q < 4; ++q) store_bytes(to.pair[p].quad[q][2 * v], codes[q][0]), store_bytes(to.pair[p].quad[q][2 * v + 1], codes[q][1]);
      store_bytes(to.pair[p].scale[16 * v], pair_scales(factors, p, v));
    }
  for (int v = 0; v < kPanelVectors; ++v) store_floats(to.d + kPanelLanes * v, halves(factors.d + kPanelLanes * v));
}

CROSSOVER_INLINE Bytes splat_pair(const void* p) {
  std::int64_t x;
  __builtin_memcpy(&x, p, sizeof x);
  return _mm512_set1_epi64(x);
}

class UnpackedSource {
 public:
  static constexpr int kPanels = 1;
  CROSSOVER_INLINE explicit UnpackedSource(const UnpackedBlock* first) : first_(first) {}
  CROSSOVER_INLINE const UnpackedBlock& block(std::int64_t b) const { return first_[b]; }

 private:
  const UnpackedBlock* first_;
};

// total[t][row] += one block of 256 values; 16 sums of dot products, 8 of scaled ones, 4 vectors of codes and one of activations.
template <int kTokens, class Ahead>
CROSSOVER_INLINE void add_block(UnpackedSource& source, const ActivationBlock* const* x, Ahead& ahead, std::int64_t b, float (*total)[kPanelRows]) {
  const UnpackedBlock& w = source.block(b);
  Floats sum[kTokens][2];
#pragma GCC unroll 4
  for (int t = 0; t < kTokens; ++t) sum[t][0] = sum[t][1] = zero_floats();
#pragma GCC unroll 1
  for (int p = 0; p < 8; ++p) {
    const UnpackedPair& pair = w.pair[p];
    ahead.template step<kTokens>(b, p);
    Bytes dot[kTokens][4];
#pragma GCC unroll 4
    for (int t = 0; t < kTokens; ++t) dot[t][0] = dot[t][1] = dot[t][2] = dot[t][3] = splat_pair(x[t][b].bias + 2 * p);
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) {
      Bytes codes[4];
#pragma GCC unroll 4
      for (int v = 0; v < 4; ++v) codes[v] = load_bytes(pair.quad[q][v]);
#pragma GCC unroll 4
      for (int t = 0; t < kTokens; ++t) {
        const Bytes activations = splat_pair(x[t][b].quads(p, q));
#pragma GCC unroll 4
        for (int v = 0; v < 4; ++v) add_quads(dot[t][v], codes[v], activations);
      }
    }
#pragma GCC unroll 2
    for (int v = 0; v < 2; ++v) {
      const Bytes scale = load_bytes(pair.scale[16 * v]);
#pragma GCC unroll 4
      for (int t = 0; t < kTokens; ++t) {
        const Bytes scaled = _mm512_madd_epi16(_mm512_packs_epi32(dot[t][2 * v], dot[t][2 * v + 1]), scale);
        sum[t][v] = fma_floats(to_floats(scaled), splat(x[t][b].scale[p]), sum[t][v]);
      }
    }
  }
#pragma GCC unroll 4
  for (int t = 0; t < kTokens; ++t)
    for (int v = 0; v < 2; ++v) {
      float* to = total[t] + kPanelLanes * v;
      store_floats(to, fma_floats(sum[t][v], load_floats(w.d + kPanelLanes * v), load_floats(to)));
    }
}

}  // namespace crossover::cpu::CROSSOVER_ISA

#endif
