// The products of the chunked scan in f32: on every instruction set, and the exact form where bf16 is faster.
#pragma once

#include "kernels/cpu/micro/gdn_chunk.h"
#include "kernels/cpu/micro/transpose.h"

namespace crossover::cpu::CROSSOVER_ISA {

struct F32Products {
  struct alignas(64) Tokens { float k[kRows][kDim], q[kRows][kDim]; };
  struct alignas(64) Strip { float s[kDim][kRows]; };
  struct Square { float m[kRows][kRows]; };
  struct Writes { F16 x[kRows]; };

  static void pack(const float (*k)[kDim], const float (*q)[kDim], Tokens& tokens) {
    for (int t = 0; t < kRows; ++t)
      for (std::int64_t i = 0; i < kDim; i += 16) store(tokens.k[t] + i, load(k[t] + i)), store(tokens.q[t] + i, load(q[t] + i));
  }
  static void transpose_keys(const Tokens& tokens, Strip& strip) {
    for (std::int64_t i = 0; i < kDim; i += 16) transpose_16x16(tokens.k[0] + i, kDim, strip.s[i], kRows);
  }
  static CROSSOVER_INLINE void load_strip(const float* state, std::int64_t stride, Strip& strip) {
    for (std::int64_t i = 0; i < kDim; ++i) store(strip.s[i], load(state + i * stride));
  }
  static CROSSOVER_INLINE void set_row(Square& square, int row, F16 x) { store(square.m[row], x); }
  static CROSSOVER_INLINE void set_writes(Writes& writes, const F16* x) {
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) writes.x[r] = x[r];
  }

  // x [16] = rows [16, 128] * strip [128, 16]
  static CROSSOVER_INLINE void multiply(const float (*rows)[kDim], const Strip& strip, F16* x) {
    for (int first = 0; first < kRows; first += kProductRows) {
      F16 total[kProductRows];
      for (int r = 0; r < kProductRows; ++r) total[r] = zero();
      for (std::int64_t i = 0; i < kDim; ++i) {
        const F16 s = load(strip.s[i]);
#pragma GCC unroll 16
        for (int r = 0; r < kProductRows; ++r) total[r] = fma(broadcast(rows[first + r][i]), s, total[r]);
      }
#pragma GCC unroll 16
      for (int r = 0; r < kProductRows; ++r) x[first + r] = total[r];
    }
  }

  // x += square * writes, whose upper triangle is zero
  static CROSSOVER_INLINE void add_lower(const Square& square, const Writes& writes, F16* x) {
#pragma GCC unroll 16
    for (int j = 0; j < kRows; ++j)
#pragma GCC unroll 16
      for (int r = j; r < kRows; ++r) x[r] = fma(broadcast(square.m[r][j]), writes.x[j], x[r]);
  }

  static CROSSOVER_INLINE void update(const Tokens& tokens, const Writes& writes, F16 whole, Strip& strip) {
    for (std::int64_t i = 0; i < kDim; i += kUpdateRows) {
      F16 s[kUpdateRows];
#pragma GCC unroll 8
      for (int r = 0; r < kUpdateRows; ++r) s[r] = whole * load(strip.s[i + r]);
#pragma GCC unroll 16
      for (int t = 0; t < kRows; ++t)
#pragma GCC unroll 8
        for (int r = 0; r < kUpdateRows; ++r) s[r] = fma(broadcast(tokens.k[t][i + r]), writes.x[t], s[r]);
#pragma GCC unroll 8
      for (int r = 0; r < kUpdateRows; ++r) store(strip.s[i + r], s[r]);
    }
  }
};

}  // namespace crossover::cpu::CROSSOVER_ISA
