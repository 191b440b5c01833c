// Many tokens times weights in blocks of 32 on AVX-512 VNNI: codes of 32 weight rows at a time as a panel of four neighbours along the sum,
// tiles of 12 tokens in int8 with one scale per 32 values, as the rows of int8_row.h. Sums over 32 values are exact integers.
//
// The bound: of the instructions that multiply, 32 values of a vector of rows take 8 dot products, a product of the two scales and a
// multiply-add, so at most 8/10 of the dot-product rate (with a base per block 8/11).
#pragma once

#if defined(__AVX512F__)

#include "kernels/cpu/micro/gemm.h"
#include "kernels/cpu/micro/int8_row.h"
#include "kernels/cpu/micro/matvec_block32.h"
#include "kernels/cpu/micro/transpose.h"

namespace crossover::cpu::CROSSOVER_ISA {

inline constexpr std::int64_t kInt8Depth = 8192;  // values of a row in one panel: 320 KiB of panel
inline constexpr int kInt8Tokens = 6;             // of a tile that are multiplied at once: 12 sums and 12 partial sums of 32 registers

// 32 values of 12 tokens.
struct alignas(64) Int8Tile {
  float scale[16], offset[16];       // offset: scale * sum of the codes
  std::int32_t bias[16];             // what the partial sums begin with
  std::int32_t quad[8][kTileTokens]; // four codes each
};

// One part of a panel, after one another: codes [blocks * 8][32], d [blocks][32], base [blocks][32].
struct Int8Panel {
  std::int32_t* quad;
  float *d, *base;
  Int8Panel(std::byte* memory, std::int64_t blocks)
      : quad(reinterpret_cast<std::int32_t*>(memory)), d(reinterpret_cast<float*>(quad + blocks * 8 * kPanelRows)), base(d + blocks * kPanelRows) {}
};

// Types whose blocks carry a base of their own; for the others it is a constant number of codes, which the partial sums begin with.
CROSSOVER_INLINE bool has_base(DType type) { return type == DType::kQ4_1 || type == DType::kQ5_1; }
CROSSOVER_INLINE std::int32_t code_of_zero(DType type) { return type == DType::kQ8_0 ? 128 : type == DType::kQ5_0 ? 16 : type == DType::kQ4_0 ? 8 : 0; }

CROSSOVER_INLINE Codes codes_32(DType type, const std::byte* p) {
  switch (type) {
    case DType::kQ8_0: return Q80Weight::codes(p);
    case DType::kQ4_0: return Q40Weight::codes(p);
    case DType::kQ4_1: return Q41Weight::codes(p);
    case DType::kQ5_0: return Q50Weight::codes(p);
    default: return Q51Weight::codes(p);
  }
}

CROSSOVER_INLINE std::int64_t int8_gemm_depth(std::int64_t dim) { return part_depth(dim, kInt8Depth, 64); }

inline std::int64_t int8_tile_bytes(std::int64_t dim) { return dim / 32 * static_cast<std::int64_t>(sizeof(Int8Tile)); }
inline std::int64_t int8_panel_bytes(std::int64_t dim) { return int8_gemm_depth(dim) / 32 * kPanelRows * 10 * 4; }

// `blocks` (even but for the last part of a row) blocks of up to 32 rows from w on; missing rows are zeros.
inline void fill_int8_panel(DType type, const std::byte* w, std::int64_t row_bytes, std::int64_t weight_rows, std::int64_t blocks, Int8Panel panel) {
  const std::int64_t block_bytes = info(type).block_bytes;
  const bool base = has_base(type);
  alignas(64) std::int32_t rows[kPanelRows][16] = {};
  for (std::int64_t b = 0; b < blocks; b += 2) {
    for (std::int64_t r = 0; r < kPanelRows; ++r)
      for (std::int64_t i = b; i < b + 2 && i < blocks; ++i) {
        const std::byte* from = w + r * row_bytes + i * block_bytes;
        const bool there = r < weight_rows;
        if (there) _mm256_store_si256(reinterpret_cast<__m256i*>(rows[r] + 8 * (i - b)), codes_32(type, from));
        panel.d[i * kPanelRows + r] = there ? read_f16(from) : 0.0f;
        if (base) panel.base[i * kPanelRows + r] = there ? read_f16(from + 2) : 0.0f;
      }
    std::int32_t* to = panel.quad + b * 8 * kPanelRows;
    if (b + 1 < blocks) {
      for (std::int64_t r = 0; r < kPanelRows; r += 16)
        transpose_16x16(reinterpret_cast<const float*>(rows[r]), 16, reinterpret_cast<float*>(to + r), kPanelRows);
    } else {  // the last block of an odd number
      for (std::int64_t r = 0; r < kPanelRows; ++r)
        for (std::int64_t q = 0; q < 8; ++q) to[q * kPanelRows + r] = rows[r][q];
    }
  }
}

inline void pack_int8_tile(DType type, const float* const* x, std::int64_t tokens, std::int64_t dim, std::byte* memory) {
  auto* tile = reinterpret_cast<Int8Tile*>(memory);
  for (std::int64_t k = 0; k < dim; k += 32) {
    Int8Tile& to = tile[k / 32];
    if (tokens < kTileTokens) __builtin_memset(&to, 0, sizeof to);
    for (std::int64_t t = 0; t < tokens; ++t) {
      alignas(32) std::int8_t code[32];
      std::int32_t quads[8];
      float scale[2], offset[2];
      quantize_32(x[t] + k, scale, offset, code);
      __builtin_memcpy(quads, code, sizeof quads);
      std::int32_t sum = 0;
      for (int i = 0; i < 32; ++i) sum += code[i];
      to.scale[t] = scale[0], to.offset[t] = offset[0] + offset[1];
      to.bias[t] = -code_of_zero(type) * sum;
      for (int q = 0; q < 8; ++q) to.quad[q][t] = quads[q];
    }
  }
}

// Output [kTokens][32] = or += tokens first_token .. of a tile times a panel.
template <bool kBase, int kTokens>
void multiply_int8(const Int8Tile* a, std::int64_t first_token, Int8Panel panel, std::int64_t blocks, bool accumulate, const __mmask16* columns,
                   float* out, std::int64_t out_stride) {
  __m512 total[kTokens][2];
  load_totals(out, out_stride, accumulate, columns, total);
  const std::int32_t* quad = panel.quad;
  for (std::int64_t b = 0; b < blocks; ++b) {
    __m512i dot[kTokens][2];
#pragma GCC unroll 6
    for (int t = 0; t < kTokens; ++t) dot[t][0] = dot[t][1] = _mm512_set1_epi32(a[b].bias[first_token + t]);
    const std::int32_t* activations = a[b].quad[0] + first_token;
#pragma GCC unroll 8
    for (int q = 0; q < 8; ++q, quad += kPanelRows, activations += kTileTokens) {
      const __m512i first = _mm512_load_si512(quad), second = _mm512_load_si512(quad + 16);
#pragma GCC unroll 6
      for (int t = 0; t < kTokens; ++t) {
        const __m512i x = _mm512_set1_epi32(activations[t]);
        add_quads(dot[t][0], first, x);
        add_quads(dot[t][1], second, x);
      }
    }
#pragma GCC unroll 2
    for (int v = 0; v < 2; ++v) {
      const __m512 d = _mm512_load_ps(panel.d + b * kPanelRows + 16 * v);
#pragma GCC unroll 6
      for (int t = 0; t < kTokens; ++t) {
        const __m512 scale = _mm512_mul_ps(d, _mm512_set1_ps(a[b].scale[first_token + t]));
        total[t][v] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[t][v]), scale, total[t][v]);
        if constexpr (kBase)
          total[t][v] = _mm512_fmadd_ps(_mm512_load_ps(panel.base + b * kPanelRows + 16 * v), _mm512_set1_ps(a[b].offset[first_token + t]), total[t][v]);
      }
    }
  }
  store_totals(total, columns, out, out_stride);
}

template <bool kBase, int kMost>
CROSSOVER_INLINE void multiply_int8_tokens(std::int64_t tokens, const Int8Tile* a, std::int64_t first_token, Int8Panel panel, std::int64_t blocks,
                                           bool accumulate, const __mmask16* columns, float* out, std::int64_t out_stride) {
  if (tokens >= kMost) return multiply_int8<kBase, kMost>(a, first_token, panel, blocks, accumulate, columns, out, out_stride);
  if constexpr (kMost > 1) multiply_int8_tokens<kBase, kMost - 1>(tokens, a, first_token, panel, blocks, accumulate, columns, out, out_stride);
}

inline void gemm_int8(DType type, const std::byte* w, std::int64_t weight_rows, std::int64_t dim, const std::byte* tiles, std::int64_t tokens,
                      float* out, std::int64_t out_stride, std::byte* scratch) {
  const std::int64_t depth = int8_gemm_depth(dim), block_bytes = info(type).block_bytes, row_bytes = dim / 32 * block_bytes;
  const bool base = has_base(type);
  const __mmask16 columns[2] = {first_lanes(weight_rows), first_lanes(weight_rows - 16)};
  for (std::int64_t first = 0; first < dim; first += depth) {
    const std::int64_t blocks = (dim - first < depth ? dim - first : depth) / 32;
    const Int8Panel panel(scratch, blocks);
    fill_int8_panel(type, w + first / 32 * block_bytes, row_bytes, weight_rows, blocks, panel);
    for (std::int64_t t = 0; t < tokens; t += kInt8Tokens) {
      const auto* a = reinterpret_cast<const Int8Tile*>(tiles + t / kTileTokens * int8_tile_bytes(dim)) + first / 32;
      (base ? multiply_int8_tokens<true, kInt8Tokens> : multiply_int8_tokens<false, kInt8Tokens>)(tokens - t, a, t % kTileTokens, panel, blocks, first > 0, columns,
                                                                                                  out + t * out_stride, out_stride);
    }
  }
}

inline constexpr Gemm kInt8Gemm = {"avx512-vnni-int8-panel", int8_tile_bytes, pack_int8_tile, int8_panel_bytes, gemm_int8};

}  // namespace crossover::cpu::CROSSOVER_ISA

#endif
