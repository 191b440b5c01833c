// Many tokens times bf16 weights with vdpbf16ps, at twice the rate of f32: 32 weight rows at a time as a panel of pairs of neighbours along
// the sum, tiles of 12 tokens, f32 sums. Activations are rounded to bf16 (relative error up to 2^-8), as other engines do for this type.
#pragma once

#if defined(__AVX512BF16__)

#include "kernels/cpu/micro/gemm.h"
#include "kernels/cpu/micro/simd.h"
#include "kernels/cpu/micro/transpose.h"

namespace crossover::cpu::CROSSOVER_ISA {

using Bf16Pair = std::uint32_t;  // two bf16, the first in the low half

inline constexpr std::int64_t kBf16Depth = 8192;       // values of a row in one panel: 512 KiB of panel
inline constexpr std::int64_t kBf16Step = 32;          // values of a row that are transposed at once; what is missing is zeros
inline constexpr std::int64_t kBf16StepPairs = kBf16Step / 2;

CROSSOVER_INLINE std::int64_t bf16_steps(std::int64_t values) { return (values + kBf16Step - 1) / kBf16Step; }

CROSSOVER_INLINE std::int64_t bf16_depth(std::int64_t dim) { return part_depth(dim, kBf16Depth, kBf16Step); }

inline std::int64_t bf16_panel_bytes(std::int64_t dim) { return bf16_depth(dim) / 2 * kPanelRows * static_cast<std::int64_t>(sizeof(Bf16Pair)); }
inline std::int64_t bf16_tile_bytes(std::int64_t dim) {
  return bf16_steps(dim) * kBf16StepPairs * kTileTokens * static_cast<std::int64_t>(sizeof(Bf16Pair));
}

// The panel [values / 2][32] of `values` columns of weight_rows rows; w: the first value of the first row.
inline void fill_bf16_panel(const std::byte* w, std::int64_t row_bytes, std::int64_t weight_rows, std::int64_t values, Bf16Pair* panel) {
  alignas(64) Bf16Pair rows[kPanelRows][kBf16StepPairs] = {};
  for (std::int64_t k = 0; k < values; k += kBf16Step, panel += kBf16StepPairs * kPanelRows) {
    const std::int64_t left = values - k;
    const __mmask32 there = left < kBf16Step ? (1u << left) - 1u : 0xffffffffu;
    for (std::int64_t r = 0; r < weight_rows; ++r)
      _mm512_store_si512(rows[r], _mm512_maskz_loadu_epi16(there, w + r * row_bytes + 2 * k));
    for (std::int64_t r = 0; r < kPanelRows; r += 16)
      transpose_16x16(reinterpret_cast<const float*>(rows[r]), kBf16StepPairs, reinterpret_cast<float*>(panel + r), kPanelRows);
  }
}

// The tile [pairs][12] of up to twelve tokens.
inline void pack_bf16_tile(DType, const float* const* x, std::int64_t tokens, std::int64_t dim, std::byte* tile) {
  auto* to = reinterpret_cast<Bf16Pair*>(tile);
  alignas(64) Bf16Pair rows[16][kBf16StepPairs] = {}, columns[kBf16StepPairs][16];
  constexpr __mmask16 kTokens = (1u << kTileTokens) - 1u;
  for (std::int64_t k = 0; k < dim; k += kBf16Step) {
    const std::int64_t left = dim - k;
    const __mmask16 low = static_cast<__mmask16>(left < 16 ? (1u << left) - 1u : 0xffffu);
    const __mmask16 high = static_cast<__mmask16>(left < 32 ? left < 16 ? 0u : (1u << (left - 16)) - 1u : 0xffffu);
    for (std::int64_t t = 0; t < tokens; ++t) {
      const __m512 first = _mm512_maskz_loadu_ps(low, x[t] + k), second = _mm512_maskz_loadu_ps(high, x[t] + k + 16);
      _mm512_store_si512(rows[t], reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(second, first)));
    }
    transpose_16x16(reinterpret_cast<const float*>(rows), kBf16StepPairs, reinterpret_cast<float*>(columns), 16);
    for (std::int64_t p = 0; p < kBf16StepPairs; ++p, to += kTileTokens) _mm512_mask_storeu_epi32(to, kTokens, _mm512_load_si512(columns[p]));
  }
}

// Output [kTokens][32] = or += a tile times a panel. The sums are 24 of 32 registers.
template <int kTokens>
void multiply_bf16(const Bf16Pair* a, const Bf16Pair* panel, std::int64_t pairs, bool accumulate, const __mmask16* columns, float* out,
                   std::int64_t out_stride) {
  __m512 total[kTokens][2];
  load_totals(out, out_stride, accumulate, columns, total);
  for (std::int64_t p = 0; p < pairs; ++p, a += kTileTokens, panel += kPanelRows) {
    const auto first = reinterpret_cast<__m512bh>(_mm512_load_si512(panel)), second = reinterpret_cast<__m512bh>(_mm512_load_si512(panel + 16));
#pragma GCC unroll 12
    for (int t = 0; t < kTokens; ++t) {
      const auto x = reinterpret_cast<__m512bh>(_mm512_set1_epi32(static_cast<int>(a[t])));
      total[t][0] = _mm512_dpbf16_ps(total[t][0], x, first);
      total[t][1] = _mm512_dpbf16_ps(total[t][1], x, second);
    }
  }
  store_totals(total, columns, out, out_stride);
}

template <int kMost>
CROSSOVER_INLINE void multiply_bf16_tokens(std::int64_t tokens, const Bf16Pair* a, const Bf16Pair* panel, std::int64_t pairs, bool accumulate,
                                           const __mmask16* columns, float* out, std::int64_t out_stride) {
  if (tokens >= kMost) return multiply_bf16<kMost>(a, panel, pairs, accumulate, columns, out, out_stride);
  if constexpr (kMost > 1) multiply_bf16_tokens<kMost - 1>(tokens, a, panel, pairs, accumulate, columns, out, out_stride);
}

inline void gemm_bf16(DType, const std::byte* w, std::int64_t weight_rows, std::int64_t dim, const std::byte* tiles, std::int64_t tokens, float* out,
                      std::int64_t out_stride, std::byte* scratch) {
  const std::int64_t depth = bf16_depth(dim);
  auto* panel = reinterpret_cast<Bf16Pair*>(scratch);
  const __mmask16 columns[2] = {first_lanes(weight_rows), first_lanes(weight_rows - 16)};
  for (std::int64_t first = 0; first < dim; first += depth) {
    const std::int64_t values = dim - first < depth ? dim - first : depth;
    fill_bf16_panel(w + 2 * first, 2 * dim, weight_rows, values, panel);
    for (std::int64_t t = 0; t < tokens; t += kTileTokens) {
      const auto* a = reinterpret_cast<const Bf16Pair*>(tiles + t / kTileTokens * bf16_tile_bytes(dim)) + first / 2 * kTileTokens;
      multiply_bf16_tokens<kTileTokens>(tokens - t, a, panel, bf16_steps(values) * kBf16StepPairs, first > 0, columns, out + t * out_stride, out_stride);
    }
  }
}

inline constexpr Gemm kBf16Gemm = {"avx512-bf16-panel", bf16_tile_bytes, pack_bf16_tile, bf16_panel_bytes, gemm_bf16};

}  // namespace crossover::cpu::CROSSOVER_ISA

#endif
