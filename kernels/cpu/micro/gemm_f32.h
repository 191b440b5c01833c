// Many tokens: 32 weight rows at a time are converted to an f32 panel [k][32] that stays in the L2 cache and is multiplied with
// tiles of 12 activation rows [k][12]; each output is one chain of multiply-adds over k per block of kPanelDepth.
#pragma once

#include "kernels/cpu/micro/gemm.h"
#include "kernels/cpu/micro/simd.h"
#include "kernels/cpu/micro/transpose.h"

namespace crossover::cpu::CROSSOVER_ISA {

inline constexpr std::int64_t kPanelDepth = 4096;  // 512 KiB of panel
inline constexpr std::int64_t kConvertDepth = 256; // weights of a row converted at once: a multiple of every block
inline constexpr std::int64_t kConvertStride = kConvertDepth + 16;  // not a power of two: rows would share cache sets

#if defined(__AVX512F__)
using V = __m512;
inline constexpr int kLanes = 16, kTileStep = 12;
CROSSOVER_INLINE V zero_v() { return _mm512_setzero_ps(); }
CROSSOVER_INLINE V load_v(const float* p) { return _mm512_loadu_ps(p); }
CROSSOVER_INLINE void store_v(float* p, V x) { _mm512_storeu_ps(p, x); }
CROSSOVER_INLINE V broadcast_v(float x) { return _mm512_set1_ps(x); }
CROSSOVER_INLINE V fma_v(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
#elif defined(__AVX2__)
using V = __m256;
inline constexpr int kLanes = 8, kTileStep = 6;
CROSSOVER_INLINE V zero_v() { return _mm256_setzero_ps(); }
CROSSOVER_INLINE V load_v(const float* p) { return _mm256_loadu_ps(p); }
CROSSOVER_INLINE void store_v(float* p, V x) { _mm256_storeu_ps(p, x); }
CROSSOVER_INLINE V broadcast_v(float x) { return _mm256_set1_ps(x); }
CROSSOVER_INLINE V fma_v(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
#else
typedef float V __attribute__((vector_size(16)));
inline constexpr int kLanes = 4, kTileStep = 4;
CROSSOVER_INLINE V zero_v() { return V{}; }
CROSSOVER_INLINE V load_v(const float* p) { V x; __builtin_memcpy(&x, p, sizeof x); return x; }
CROSSOVER_INLINE void store_v(float* p, V x) { __builtin_memcpy(p, &x, sizeof x); }
CROSSOVER_INLINE V broadcast_v(float x) { return V{x, x, x, x}; }
CROSSOVER_INLINE V fma_v(V a, V b, V c) { return a * b + c; }
#endif

// The panel [depth][32] of weight_rows rows from value `first` on; missing rows are zeros. `convert`: 32 * kConvertStride floats.
inline void fill_panel(DType dtype, const std::byte* w, std::int64_t row_bytes, std::int64_t weight_rows,
                       std::int64_t first, std::int64_t depth, float* convert, float* panel) {
  const DTypeInfo& block = info(dtype);
  for (std::int64_t r = weight_rows; r < kPanelRows; ++r)
    for (std::int64_t k = 0; k < kConvertDepth; ++k) convert[r * kConvertStride + k] = 0.0f;
  for (std::int64_t done = 0; done < depth; done += kConvertDepth) {
    const std::int64_t n = depth - done < kConvertDepth ? depth - done : kConvertDepth;
    const std::byte* from = w + (first + done) / block.block_values * block.block_bytes;
    for (std::int64_t r = 0; r < weight_rows; ++r)
      formats.dequantize[static_cast<int>(dtype)](from + r * row_bytes, convert + r * kConvertStride, n);
    std::int64_t k = 0;
    for (; k + 16 <= n; k += 16)
      for (std::int64_t r = 0; r < kPanelRows; r += 16)
        transpose_16x16(convert + r * kConvertStride + k, kConvertStride, panel + (done + k) * kPanelRows + r, kPanelRows);
    for (; k < n; ++k)
      for (std::int64_t r = 0; r < kPanelRows; ++r) panel[(done + k) * kPanelRows + r] = convert[r * kConvertStride + k];
  }
}

// Output [kTokens, 2 vectors] = or += a [depth][12] x panel [depth][32] at one pair of vectors of the panel.
template <int kTokens>
void multiply_tile(const float* a, const float* panel, std::int64_t depth, bool accumulate, float* c, std::int64_t c_stride) {
  V total[kTokens][2];
  for (int t = 0; t < kTokens; ++t) total[t][0] = total[t][1] = zero_v();
  for (std::int64_t k = 0; k < depth; ++k) {
    const V b0 = load_v(panel + k * kPanelRows), b1 = load_v(panel + k * kPanelRows + kLanes);
#pragma GCC unroll 12
    for (int t = 0; t < kTokens; ++t) {
      const V x = broadcast_v(a[k * kTileTokens + t]);
      total[t][0] = fma_v(x, b0, total[t][0]);
      total[t][1] = fma_v(x, b1, total[t][1]);
    }
  }
  for (int t = 0; t < kTokens; ++t) {
    float* to = c + t * c_stride;
    store_v(to, accumulate ? load_v(to) + total[t][0] : total[t][0]);
    store_v(to + kLanes, accumulate ? load_v(to + kLanes) + total[t][1] : total[t][1]);
  }
}

template <int kMost>
CROSSOVER_INLINE void multiply_tokens(std::int64_t tokens, const float* a, const float* panel, std::int64_t depth, bool accumulate, float* c,
                                      std::int64_t c_stride) {
  if (tokens >= kMost) return multiply_tile<kMost>(a, panel, depth, accumulate, c, c_stride);
  if constexpr (kMost > 1) multiply_tokens<kMost - 1>(tokens, a, panel, depth, accumulate, c, c_stride);
}

// Up to twelve tokens times up to 32 columns; the output of a narrow panel goes through a full-width copy.
inline void multiply_panel(const float* a, std::int64_t tokens, const float* panel, std::int64_t depth, bool accumulate, std::int64_t cols,
                           float* out, std::int64_t out_stride) {
  float wide[kTileTokens * kPanelRows];
  const bool narrow = cols < kPanelRows;
  float* c = narrow ? wide : out;
  const std::int64_t c_stride = narrow ? kPanelRows : out_stride;
  if (narrow && accumulate)
    for (std::int64_t t = 0; t < tokens; ++t)
      for (std::int64_t n = 0; n < kPanelRows; ++n) wide[t * kPanelRows + n] = n < cols ? out[t * out_stride + n] : 0.0f;
  for (std::int64_t n = 0; n < kPanelRows; n += 2 * kLanes)
    for (std::int64_t t = 0; t < tokens; t += kTileStep)
      multiply_tokens<kTileStep>(tokens - t, a + t, panel + n, depth, accumulate, c + t * c_stride + n, c_stride);
  if (narrow)
    for (std::int64_t t = 0; t < tokens; ++t)
      for (std::int64_t n = 0; n < cols; ++n) out[t * out_stride + n] = wide[t * kPanelRows + n];
}

CROSSOVER_INLINE std::int64_t panel_depth(std::int64_t dim) { return part_depth(dim, kPanelDepth, kConvertDepth); }

inline std::int64_t f32_panel_bytes(std::int64_t dim) {
  return (panel_depth(dim) * kPanelRows + kPanelRows * kConvertStride) * static_cast<std::int64_t>(sizeof(float));
}

inline std::int64_t f32_tile_bytes(std::int64_t dim) { return (dim * kTileTokens * static_cast<std::int64_t>(sizeof(float)) + 63) / 64 * 64; }

inline void pack_f32_tile(DType, const float* const* x, std::int64_t tokens, std::int64_t dim, std::byte* tile) {
  float* to = reinterpret_cast<float*>(tile);
  for (std::int64_t k = 0; k < dim; ++k)
    for (std::int64_t t = 0; t < kTileTokens; ++t) to[k * kTileTokens + t] = t < tokens ? x[t][k] : 0.0f;
}

inline void gemm_f32(DType dtype, const std::byte* w, std::int64_t weight_rows, std::int64_t dim,
                     const std::byte* tiles, std::int64_t tokens, float* out, std::int64_t out_stride, std::byte* scratch) {
  const std::int64_t depth = panel_depth(dim), row_bytes = dim / info(dtype).block_values * info(dtype).block_bytes;
  float* panel = reinterpret_cast<float*>(scratch);
  for (std::int64_t first = 0; first < dim; first += depth) {
    const std::int64_t n = dim - first < depth ? dim - first : depth;
    fill_panel(dtype, w, row_bytes, weight_rows, first, n, panel + depth * kPanelRows, panel);
    for (std::int64_t t = 0; t < tokens; t += kTileTokens) {
      const float* a = reinterpret_cast<const float*>(tiles + t / kTileTokens * f32_tile_bytes(dim)) + first * kTileTokens;
      multiply_panel(a, tokens - t < kTileTokens ? tokens - t : kTileTokens, panel, n, first > 0, weight_rows, out + t * out_stride, out_stride);
    }
  }
}

#if defined(__AVX512F__)
inline constexpr const char* kF32GemmPath = "avx512-f32-panel";
#elif defined(__AVX2__)
inline constexpr const char* kF32GemmPath = "avx2-f32-panel";
#else
inline constexpr const char* kF32GemmPath = "portable-f32-panel";
#endif
inline constexpr Gemm kF32Gemm = {kF32GemmPath, f32_tile_bytes, pack_f32_tile, f32_panel_bytes, gemm_f32};

}  // namespace crossover::cpu::CROSSOVER_ISA
