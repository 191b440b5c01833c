// Small f32 matrix products whose operands lie in L1 or L2: the inner loop of the chunked scan and of attention. Every element
// of the result is one chain of fma in ascending depth, so it does not depend on the tile that computed it.
#pragma once

#include "kernels/cpu/micro/simd.h"

namespace crossover::cpu::CROSSOVER_ISA {

#if defined(__AVX512F__)
inline constexpr int kTileRows = 8, kTileVectors = 2;  // 16 of 32 registers accumulate
#else
inline constexpr int kTileRows = 4, kTileVectors = 1;  // with AVX2 8 of 16 (an F16 is two of them)
#endif

// c = a * b, or c = *scale * c + a * b when `scale` is not null.
template <int rows, int vectors>
CROSSOVER_INLINE void product_tile(const float* a, std::int64_t a_stride, const float* b, std::int64_t b_stride, std::int64_t depth, float* c,
                                   std::int64_t c_stride, const float* scale) {
  F16 total[rows][vectors];
  for (int r = 0; r < rows; ++r)
    for (int v = 0; v < vectors; ++v) total[r][v] = zero();
  for (std::int64_t k = 0; k < depth; ++k) {
    F16 bk[vectors];
    for (int v = 0; v < vectors; ++v) bk[v] = load(b + k * b_stride + 16 * v);
    for (int r = 0; r < rows; ++r) {
      const F16 x = broadcast(a[r * a_stride + k]);
      for (int v = 0; v < vectors; ++v) total[r][v] = fma(x, bk[v], total[r][v]);
    }
  }
  for (int r = 0; r < rows; ++r) {
    for (int v = 0; v < vectors; ++v) {
      float* to = c + r * c_stride + 16 * v;
      store(to, scale ? fma(broadcast(*scale), load(to), total[r][v]) : total[r][v]);
    }
  }
}

template <int vectors>
CROSSOVER_INLINE void product_strip(const float* a, std::int64_t a_stride, const float* b, std::int64_t b_stride, std::int64_t rows,
                                    std::int64_t depth, float* c, std::int64_t c_stride, const float* scale) {
  std::int64_t r = 0;
  for (; r + kTileRows <= rows; r += kTileRows)
    product_tile<kTileRows, vectors>(a + r * a_stride, a_stride, b, b_stride, depth, c + r * c_stride, c_stride, scale);
  for (; r + 2 <= rows; r += 2) product_tile<2, vectors>(a + r * a_stride, a_stride, b, b_stride, depth, c + r * c_stride, c_stride, scale);
  if (r < rows) product_tile<1, vectors>(a + r * a_stride, a_stride, b, b_stride, depth, c + r * c_stride, c_stride, scale);
}

// a [rows, depth], b [depth, cols], c [rows, cols]; cols is a multiple of 16.
inline void product(const float* a, std::int64_t a_stride, const float* b, std::int64_t b_stride, std::int64_t rows, std::int64_t cols,
                    std::int64_t depth, float* c, std::int64_t c_stride, const float* scale) {
  std::int64_t j = 0;
  for (; j + 16 * kTileVectors <= cols; j += 16 * kTileVectors)
    product_strip<kTileVectors>(a, a_stride, b + j, b_stride, rows, depth, c + j, c_stride, scale);
  for (; j < cols; j += 16) product_strip<1>(a, a_stride, b + j, b_stride, rows, depth, c + j, c_stride, scale);
}

}  // namespace crossover::cpu::CROSSOVER_ISA
