// Operands of the chunked scan on tiles (gdn_tiles.cpp).
#pragma once

#include "kernels/cpu/micro.h"
#include "kernels/cpu/micro/simd.h"
#include "kernels/cpu/tiles/bf16.h"
#include "kernels/cpu/tiles/tiles.h"

namespace crossover::cpu::CROSSOVER_ISA::scan {

inline constexpr std::int64_t kDim = kGdnHeadDim;
inline constexpr std::int64_t kChunk = 64, kHalf = 32;          // tokens
inline constexpr std::int64_t kFeatureSteps = kDim / kStep;
inline constexpr std::int64_t kBlocks = kChunk / kSide;         // of tokens of a chunk
inline constexpr std::int64_t kBlockChunks = kGdnBlockTokens / kChunk;

#if defined(__AVX512BF16__)
// Lane n is the pair (first[n], second[n]).
CROSSOVER_INLINE void store_pairs(std::uint32_t* to, F16 first, F16 second) {
  const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512i neighbours = _mm512_or_si512(lanes, _mm512_slli_epi32(_mm512_add_epi32(lanes, _mm512_set1_epi32(16)), 16));
  _mm512_store_si512(to, _mm512_permutexvar_epi16(neighbours, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(second.v, first.v))));
}
// Sixteen values, then sixteen more.
CROSSOVER_INLINE void store_row(std::uint32_t* to, F16 low, F16 high) { _mm512_store_si512(to, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high.v, low.v))); }
#else
CROSSOVER_INLINE void store_pairs(std::uint32_t* to, F16 first, F16 second) {
  float x[16], y[16];
  store(x, first), store(y, second);
  for (int i = 0; i < 16; ++i) to[i] = bf16_pair(x[i], y[i]);
}
CROSSOVER_INLINE void store_row(std::uint32_t* to, F16 low, F16 high) {
  float x[32];
  store(x, low), store(x + 16, high);
  store_bf16(x, to);
}
#endif

// Sums 0 .. 3, two by two. Left operands are read once for 32 columns, past the first-level cache, where the right ones are.
CROSSOVER_INLINE void add_step(Tiles& unit, const Tile& upper, const Tile& lower, const Tile (&right)[2]) {
  unit.load_once<4>(&upper, 64), unit.load<6>(&right[0], 64);
  unit.add_products<0, 4, 6>();
  unit.load<7>(&right[1], 64);
  unit.add_products<1, 4, 7>();
  unit.load_once<5>(&lower, 64);
  unit.add_products<2, 5, 6>();
  unit.add_products<3, 5, 7>();
}

CROSSOVER_INLINE void zero_sums(Tiles& unit) { unit.zero<0>(), unit.zero<1>(), unit.zero<2>(), unit.zero<3>(); }

CROSSOVER_INLINE void load_sums(Tiles& unit, const float* from, std::int64_t stride) {
  unit.load<0>(from, 4 * stride), unit.load<1>(from + kSide, 4 * stride);
  unit.load<2>(from + kSide * stride, 4 * stride), unit.load<3>(from + kSide * stride + kSide, 4 * stride);
}

CROSSOVER_INLINE void store_sums(Tiles& unit, float* to, std::int64_t stride) {
  unit.store<0>(to, 4 * stride), unit.store<1>(to + kSide, 4 * stride);
  unit.store<2>(to + kSide * stride, 4 * stride), unit.store<3>(to + kSide * stride + kSide, 4 * stride);
}

// What the value heads of a key head share of a chunk.
struct ChunkKeys {
  Tile k[kBlocks][kFeatureSteps];    // K: rows are tokens
  Tile kt[kDim / kSide][2];          // K^T: rows are features, [..][half]
  alignas(64) float kk[kChunk][kChunk], qk[kChunk][kChunk];  // K K^T and Q K^T, up to the diagonal's blocks
};

// A chunk of one head; rows of V, Q and O lie `stride` apart and are all there.
struct ChunkRows {
  const float *v, *q;
  float* out;
  std::int64_t v_stride, q_stride, out_stride, halves;
};

}  // namespace crossover::cpu::CROSSOVER_ISA::scan
