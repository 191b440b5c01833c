// One way to multiply many tokens: how it packs twelve of them, what scratch a worker needs, and the product itself. Shapes and
// units as in MatmulMicro (kernels/cpu/micro.h).
#pragma once

#include "kernels/cpu/micro.h"
#include "kernels/cpu/micro/simd.h"

namespace crossover::cpu::CROSSOVER_ISA {

struct Gemm {
  const char* path;
  std::int64_t (*tile_bytes)(std::int64_t dim);
  void (*pack_tile)(DType weight, const float* const* rows, std::int64_t tokens, std::int64_t dim, std::byte* tile);
  std::int64_t (*panel_bytes)(std::int64_t dim);
  void (*multiply)(DType weight, const std::byte* w, std::int64_t rows, std::int64_t dim, const std::byte* tiles, std::int64_t tokens, float* out,
                   std::int64_t out_stride, std::byte* panel);
};

// Values of a row in one panel: parts of equal length, at most `most`, each but the last a multiple of `step`.
CROSSOVER_INLINE std::int64_t part_depth(std::int64_t dim, std::int64_t most, std::int64_t step) {
  const std::int64_t parts = (dim + most - 1) / most;
  return ((dim + parts - 1) / parts + step - 1) / step * step;
}

#if defined(__AVX512F__)
// The sums of [kTokens][32] outputs begin with what is there or with zeros; `columns` are those that are there.
template <int kTokens>
CROSSOVER_INLINE void load_totals(const float* out, std::int64_t out_stride, bool accumulate, const __mmask16* columns, __m512 (&total)[kTokens][2]) {
#pragma GCC unroll 12
  for (int t = 0; t < kTokens; ++t)
#pragma GCC unroll 2
    for (int v = 0; v < 2; ++v)
      total[t][v] = accumulate ? _mm512_maskz_loadu_ps(columns[v], out + t * out_stride + 16 * v) : _mm512_setzero_ps();
}

template <int kTokens>
CROSSOVER_INLINE void store_totals(const __m512 (&total)[kTokens][2], const __mmask16* columns, float* out, std::int64_t out_stride) {
#pragma GCC unroll 12
  for (int t = 0; t < kTokens; ++t)
#pragma GCC unroll 2
    for (int v = 0; v < 2; ++v) _mm512_mask_storeu_ps(out + t * out_stride + 16 * v, columns[v], total[t][v]);
}
#endif

}  // namespace crossover::cpu::CROSSOVER_ISA
