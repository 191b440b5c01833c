// The products of the chunked scan in bf16 with f32 sums: vdpbf16ps multiplies pairs of values, twice the rate of f32. The state
// stays f32; beside a strip lies a bf16 copy that is made anew after every chunk. K, Q, the state as it is read and what tokens
// write are rounded (relative error 2^-9); the triangular system is solved in f32, for the rounded keys.
#pragma once

#include "kernels/cpu/micro/gdn_chunk.h"
#include "kernels/cpu/micro/transpose.h"

#if defined(__AVX512BF16__)

namespace crossover::cpu::CROSSOVER_ISA {

using Pair = std::uint32_t;  // two bf16, the first in the low half

// Lane n is the pair (first[n], second[n]).
CROSSOVER_INLINE __m512i pairs(F16 first, F16 second) {
  const __m512i interleave =
      _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return _mm512_permutexvar_epi16(interleave, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(second.v, first.v)));
}

// total[n] + pair.first * b[n].first + pair.second * b[n].second
CROSSOVER_INLINE F16 dot_pairs(Pair pair, __m512i b, F16 total) {
  const __m512i a = _mm512_set1_epi32(static_cast<int>(pair));
  return {_mm512_dpbf16_ps(total.v, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b))};
}

struct Bf16Products {
  struct alignas(64) Tokens {
    Pair k[kRows][kDim / 2], q[kRows][kDim / 2];  // pairs along the features
    Pair kt[kRows / 2][kDim];                     // K^T: pairs along the tokens
  };
  struct alignas(64) Strip {
    float s[kDim][kRows];
    Pair pair[kDim / 2][kRows];  // rows 2i and 2i + 1 of s
  };
  struct alignas(64) Square { Pair m[kRows][kRows / 2]; };
  struct Writes { __m512i x[kRows / 2]; };  // pairs along the tokens

  static void pack_row(const float* from, Pair* to) {
    for (std::int64_t i = 0; i < kDim; i += 32)
      _mm512_storeu_si512(to + i / 2, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(load(from + i + 16).v, load(from + i).v)));
  }
  static void pack(const float (*k)[kDim], const float (*q)[kDim], Tokens& tokens) {
    for (int t = 0; t < kRows; ++t) pack_row(k[t], tokens.k[t]), pack_row(q[t], tokens.q[t]);
    for (int t = 0; t < kRows; t += 2)
      for (std::int64_t i = 0; i < kDim; i += 16) _mm512_storeu_si512(tokens.kt[t / 2] + i, pairs(load(k[t] + i), load(k[t + 1] + i)));
  }
  static void transpose_keys(const Tokens& tokens, Strip& strip) {
    for (std::int64_t i = 0; i < kDim / 2; i += 16)
      transpose_16x16(reinterpret_cast<const float*>(tokens.k[0]) + i, kDim / 2, reinterpret_cast<float*>(strip.pair[i]), kRows);
  }
  static CROSSOVER_INLINE void load_strip(const float* state, std::int64_t stride, Strip& strip) {
    for (std::int64_t i = 0; i < kDim; i += 2) {
      const F16 first = load(state + i * stride), second = load(state + (i + 1) * stride);
      store(strip.s[i], first), store(strip.s[i + 1], second);
      _mm512_store_si512(strip.pair[i / 2], pairs(first, second));
    }
  }
  static CROSSOVER_INLINE void set_row(Square& square, int row, F16 x) {
    _mm256_store_si256(reinterpret_cast<__m256i*>(square.m[row]), reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x.v)));
  }
  static CROSSOVER_INLINE void set_writes(Writes& writes, const F16* x) {
#pragma GCC unroll 8
    for (int j = 0; j < kRows / 2; ++j) writes.x[j] = pairs(x[2 * j], x[2 * j + 1]);
  }

  // x [16] = rows [16, 128] * strip [128, 16]
  static CROSSOVER_INLINE void multiply(const Pair (*rows)[kDim / 2], const Strip& strip, F16* x) {
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) x[r] = zero();
    for (std::int64_t i = 0; i < kDim / 2; ++i) {
      const __m512i s = _mm512_load_si512(strip.pair[i]);
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) x[r] = dot_pairs(rows[r][i], s, x[r]);
    }
  }

  // x += square * writes; a pair that straddles the diagonal has a zero above it
  static CROSSOVER_INLINE void add_lower(const Square& square, const Writes& writes, F16* x) {
#pragma GCC unroll 8
    for (int j = 0; j < kRows / 2; ++j)
#pragma GCC unroll 16
      for (int r = 2 * j; r < kRows; ++r) x[r] = dot_pairs(square.m[r][j], writes.x[j], x[r]);
  }

  static CROSSOVER_INLINE void update(const Tokens& tokens, const Writes& writes, F16 whole, Strip& strip) {
    for (std::int64_t i = 0; i < kDim; i += kUpdateRows) {
      F16 s[kUpdateRows];
#pragma GCC unroll 8
      for (int r = 0; r < kUpdateRows; ++r) s[r] = whole * load(strip.s[i + r]);
#pragma GCC unroll 8
      for (int j = 0; j < kRows / 2; ++j)
#pragma GCC unroll 8
        for (int r = 0; r < kUpdateRows; ++r) s[r] = dot_pairs(tokens.kt[j][i + r], writes.x[j], s[r]);
#pragma GCC unroll 8
      for (int r = 0; r < kUpdateRows; ++r) store(strip.s[i + r], s[r]);
#pragma GCC unroll 4
      for (int r = 0; r < kUpdateRows; r += 2) _mm512_store_si512(strip.pair[(i + r) / 2], pairs(s[r], s[r + 1]));
    }
  }
};

}  // namespace crossover::cpu::CROSSOVER_ISA

#endif
