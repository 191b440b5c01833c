// Many tokens times Q6_K rows on AVX-512 VNNI: weights and activations as 16-bit integers. A weight is exactly d * code, where
// scale * (code - 32) is at most 4096 in magnitude; activations have 15 bits and one scale per 32 values, so their rounding is far
// below that of the int8 path, at 1.7 times the speed of f32.
#pragma once

#if defined(__AVX512F__)

#include "kernels/cpu/micro/gemm.h"
#include "kernels/cpu/micro/int8_row.h"
#include "kernels/cpu/micro/matvec_q6_k.h"
#include "kernels/cpu/micro/transpose.h"

namespace crossover::cpu::CROSSOVER_ISA {

inline constexpr float kInt16Levels = 16383.0f;  // 4096 * 16383 * 32 fits 32 bits
inline constexpr std::int64_t kInt16Depth = 8192;  // values of a row in one panel: 544 KiB of panel

// 32 values of 16 weight rows: pairs of neighbouring values, row by row.
struct alignas(64) Int16Panel {
  float d[16];
  std::int32_t pair[16][16];
};

// 32 values of 12 tokens.
struct alignas(64) Int16Tile {
  float scale[16];
  std::int32_t pair[16][kTileTokens];
};

// The codes of 256 values of one row as eight vectors of 32.
CROSSOVER_INLINE void codes_256(const BlockQ6_K& block, __m512i code[8]) {
  __m512i wide[4];
  unpack(block, wide);
  for (int c = 0; c < 8; ++c) {
    const __m256i half = c % 2 ? _mm512_extracti64x4_epi64(wide[c / 2], 1) : _mm512_castsi512_si256(wide[c / 2]);
    const __m512i scale = _mm512_inserti64x4(_mm512_set1_epi16(block.scales[2 * c]), _mm256_set1_epi16(block.scales[2 * c + 1]), 1);
    code[c] = _mm512_mullo_epi16(_mm512_sub_epi16(_mm512_cvtepu8_epi16(half), _mm512_set1_epi16(32)), scale);
  }
}

// Values of one panel; a panel ends with a whole block of 256 or with the row.
CROSSOVER_INLINE std::int64_t int16_depth(std::int64_t dim) { return part_depth(dim, kInt16Depth, 256); }

// `blocks` blocks of 32 values (a multiple of 8) of up to 16 rows from w on; missing rows are zeros.
inline void fill_int16_panel(const std::byte* w, std::int64_t row_bytes, std::int64_t weight_rows, std::int64_t blocks, Int16Panel* panel) {
  alignas(64) std::int32_t pairs[8][16][16] = {};
  float d[16] = {};
  for (std::int64_t b = 0; b < blocks; b += 8) {
    for (std::int64_t r = 0; r < weight_rows; ++r) {
      const auto& block = reinterpret_cast<const BlockQ6_K*>(w + r * row_bytes)[b / 8];
      __m512i code[8];
      codes_256(block, code);
      for (int c = 0; c < 8; ++c) _mm512_store_si512(pairs[c][r], code[c]);
      d[r] = half_to_float(block.d);
    }
    for (std::int64_t c = 0; c < 8; ++c) {
      transpose_16x16(reinterpret_cast<const float*>(pairs[c]), 16, reinterpret_cast<float*>(panel[b + c].pair), 16);
      __builtin_memcpy(panel[b + c].d, d, sizeof d);
    }
  }
}

// 32 values of one token; a non-finite value makes the scale NaN.
CROSSOVER_INLINE void quantize_int16(const float* x, Int16Tile& tile, std::int64_t token) {
  F16 a = load(x), b = load(x + 16);
  const float largest = max_lane(max(abs(a), abs(b)));
  const float poison = sum(a * zero() + b * zero());
  float s = largest / kInt16Levels, inverse = 1.0f / s;
  if (poison != 0.0f) s = poison, inverse = 0.0f, a = b = zero();
  else if (largest < 1e-30f) s = inverse = 0.0f;
  const __m256i low = _mm512_cvtepi32_epi16(round_even(a * broadcast(inverse)).v), high = _mm512_cvtepi32_epi16(round_even(b * broadcast(inverse)).v);
  alignas(64) std::int32_t pair[16];
  _mm512_store_si512(pair, _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1));
  for (int j = 0; j < 16; ++j) tile.pair[j][token] = pair[j];
  tile.scale[token] = s;
}

inline void pack_int16_tile(DType, const float* const* x, std::int64_t tokens, std::int64_t dim, std::byte* memory) {
  auto* tile = reinterpret_cast<Int16Tile*>(memory);
  for (std::int64_t k = 0; k < dim; k += 32) {
    if (tokens < kTileTokens) __builtin_memset(&tile[k / 32], 0, sizeof(Int16Tile));
    for (std::int64_t t = 0; t < tokens; ++t) quantize_int16(x[t] + k, tile[k / 32], t);
  }
}

// One vector of outputs [kTokens][16] = or += blocks of a tile times blocks of a panel.
template <int kTokens>
void multiply_int16(const Int16Tile* a, const Int16Panel* panel, std::int64_t blocks, bool accumulate, __mmask16 columns, float* out, std::int64_t out_stride) {
  __m512 total[kTokens];
#pragma GCC unroll 12
  for (int t = 0; t < kTokens; ++t) total[t] = accumulate ? _mm512_maskz_loadu_ps(columns, out + t * out_stride) : _mm512_setzero_ps();
  for (std::int64_t b = 0; b < blocks; ++b) {
    __m512i dot[kTokens];
#pragma GCC unroll 12
    for (int t = 0; t < kTokens; ++t) dot[t] = _mm512_setzero_si512();
#pragma GCC unroll 1
    for (int j = 0; j < 16; ++j) {
      const __m512i weight = _mm512_load_si512(panel[b].pair[j]);
#pragma GCC unroll 12
      for (int t = 0; t < kTokens; ++t) dot[t] = _mm512_dpwssd_epi32(dot[t], weight, _mm512_set1_epi32(a[b].pair[j][t]));
    }
    const __m512 d = _mm512_load_ps(panel[b].d);
#pragma GCC unroll 12
    for (int t = 0; t < kTokens; ++t)
      total[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[t]), _mm512_mul_ps(d, _mm512_set1_ps(a[b].scale[t])), total[t]);
  }
#pragma GCC unroll 12
  for (int t = 0; t < kTokens; ++t) _mm512_mask_storeu_ps(out + t * out_stride, columns, total[t]);
}

template <int kMost>
CROSSOVER_INLINE void multiply_int16_tokens(std::int64_t tokens, const Int16Tile* a, const Int16Panel* panel, std::int64_t blocks, bool accumulate,
                                            __mmask16 columns, float* out, std::int64_t out_stride) {
  if (tokens >= kMost) return multiply_int16<kMost>(a, panel, blocks, accumulate, columns, out, out_stride);
  if constexpr (kMost > 1) multiply_int16_tokens<kMost - 1>(tokens, a, panel, blocks, accumulate, columns, out, out_stride);
}

inline std::int64_t int16_tile_bytes(std::int64_t dim) { return dim / 32 * static_cast<std::int64_t>(sizeof(Int16Tile)); }
inline std::int64_t int16_panel_bytes(std::int64_t dim) { return int16_depth(dim) / 32 * 2 * static_cast<std::int64_t>(sizeof(Int16Panel)); }

inline void gemm_int16(DType, const std::byte* w, std::int64_t weight_rows, std::int64_t dim, const std::byte* tiles, std::int64_t tokens, float* out,
                       std::int64_t out_stride, std::byte* scratch) {
  const std::int64_t depth = int16_depth(dim), row_bytes = dim / 256 * static_cast<std::int64_t>(sizeof(BlockQ6_K));
  auto* panel = reinterpret_cast<Int16Panel*>(scratch);
  for (std::int64_t first = 0; first < dim; first += depth) {
    const std::int64_t blocks = (dim - first < depth ? dim - first : depth) / 32;
    const std::byte* part = w + first / 256 * static_cast<std::int64_t>(sizeof(BlockQ6_K));
    for (std::int64_t r = 0; r < weight_rows; r += 16)
      fill_int16_panel(part + r * row_bytes, row_bytes, weight_rows - r < 16 ? weight_rows - r : 16, blocks, panel + r / 16 * blocks);
    for (std::int64_t t = 0; t < tokens; t += kTileTokens) {
      const auto* a = reinterpret_cast<const Int16Tile*>(tiles + t / kTileTokens * int16_tile_bytes(dim)) + first / 32;
      for (std::int64_t r = 0; r < weight_rows; r += 16)
        multiply_int16_tokens<kTileTokens>(tokens - t, a, panel + r / 16 * blocks, blocks, first > 0, first_lanes(weight_rows - r), out + t * out_stride + r,
                                           out_stride);
    }
  }
}

inline constexpr Gemm kInt16Gemm = {"avx512-vnni-int16-panel", int16_tile_bytes, pack_int16_tile, int16_panel_bytes, gemm_int16};

}  // namespace crossover::cpu::CROSSOVER_ISA

#endif
