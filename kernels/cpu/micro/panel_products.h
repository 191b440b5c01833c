// Int8 activations times Q6_K weights in panels: integer sums over 16 values, which are exact, times the group's scale; two groups share
// the scale of their 32 activations. Few and many tokens go through the same operations in the same order, so an output has the same
// bits whatever it is computed beside; panel_pairs.h comes to the same integers another way.
#pragma once

#include "kernels/cpu/micro/panel_q6_k.h"

namespace crossover::cpu::CROSSOVER_ISA {

#if defined(__AVX512F__)
inline constexpr int kTileVectors = 2;  // rows of a tile: 2 vectors and 4 tokens leave 8 sums, 8 partial sums and 8 vectors of codes
#else
inline constexpr int kTileVectors = 1;
#endif
inline constexpr int kTileRowTokens = 4;

// What is fetched while a tile is worked on; step() runs once for every two groups of 16 values, pair 0 .. 7 of block b.
struct NothingAhead {
  template <int kTokens>
  CROSSOVER_INLINE void step(std::int64_t, int) {}
};

// The next tile's activations, which lie in the L3 cache (5 % of a product whose tokens the L2 cache does not hold), and where its outputs
// will be written: else every store of two lines a token waits for memory (18 % of 64 tokens an expert, whose outputs no cache holds).
struct TileAhead {
  const ActivationBlock* x[kTileRowTokens] = {};
  const float* out[kTileRowTokens] = {};
  std::int64_t last_row = 0;

  template <int kTokens>
  CROSSOVER_INLINE void step(std::int64_t b, int pair) {
    constexpr int kLines = sizeof(ActivationBlock) / 64;
    static_assert(kLines + 2 <= 8);
    if (pair < kLines) {
#pragma GCC unroll 4
      for (int t = 0; t < kTokens; ++t) __builtin_prefetch(reinterpret_cast<const char*>(x[t] + b) + 64 * pair, 0, 3);
    } else if (b == 0) {
#pragma GCC unroll 4
      for (int t = 0; t < kTokens; ++t) __builtin_prefetch(out[t] + (pair == kLines ? 0 : last_row), 1, 3);
    }
  }
};

// And some lines of the next panel, which lies in memory: 10 % of a product with 16 tokens, which would wait for it when it has to be
// unpacked; with many tokens there is nothing to gain.
struct PanelAhead : TileAhead {
  const char *at, *end;
  int lines;  // a step

  template <int kTokens>
  CROSSOVER_INLINE void step(std::int64_t b, int pair) {
    TileAhead::step<kTokens>(b, pair);
    for (int i = 0; i < lines && at < end; ++i, at += 64) __builtin_prefetch(at, 0, 2);
  }
};

// total[t][row] += one block of 256 values, for the rows of kVectors vectors, kTileVectors at a time.
template <int kTokens, int kVectors, class Source, class Ahead, std::int64_t kRows>
CROSSOVER_INLINE void add_vectors(const Source& w, int vector, const ActivationBlock* const* x, Ahead& ahead, std::int64_t b, float (*total)[kRows]) {
  Floats sum[kTokens][kVectors];
#pragma GCC unroll 4
  for (int t = 0; t < kTokens; ++t)
    for (int v = 0; v < kVectors; ++v) sum[t][v] = zero_floats();
#pragma GCC unroll 1
  for (int pair = 0; pair < 8; ++pair) {
    Bytes part[kTokens][kVectors];
    if (vector == 0) ahead.template step<kTokens>(b, pair);
#pragma GCC unroll 2
    for (int second = 0; second < 2; ++second) {
      const int g = 2 * pair + second;
#pragma GCC unroll 4
      for (int first = 0; first < kVectors; first += kTileVectors) {
        Bytes quad[kTileVectors][4], scale[kTileVectors];
#pragma GCC unroll 2
        for (int v = 0; v < kTileVectors; ++v) w.quads(g, vector + first + v, quad[v]), scale[v] = w.scale(g, vector + first + v);
#pragma GCC unroll 4
        for (int t = 0; t < kTokens; ++t) {
          const ActivationBlock& a = x[t][b];
          Bytes dot[kTileVectors];
#pragma GCC unroll 2
          for (int v = 0; v < kTileVectors; ++v) dot[v] = splat_int(&a.bias[g]);
#pragma GCC unroll 4
          for (int q = 0; q < 4; ++q) {
            const Bytes activations = splat_int(a.quads(pair, q) + 4 * second);
#pragma GCC unroll 2
            for (int v = 0; v < kTileVectors; ++v) dot[v] = add_products(dot[v], quad[v][q], activations);
          }
#pragma GCC unroll 2
          for (int v = 0; v < kTileVectors; ++v) {
            const Bytes product = scaled(dot[v], scale[v]);
            Bytes& before = part[t][first + v];
            Floats& into = sum[t][first + v];
            if (second) into = fma_floats(to_floats(add_ints(before, product)), splat(a.scale[pair]), into);
            else before = product;
          }
        }
      }
    }
  }
#pragma GCC unroll 4
  for (int t = 0; t < kTokens; ++t)
    for (int v = 0; v < kVectors; ++v) {
      float* to = total[t] + kPanelLanes * (vector + v);
      store_floats(to, fma_floats(sum[t][v], w.d(vector + v), load_floats(to)));
    }
}

// The same for all rows of a source; those of two panels advance together.
template <int kTokens, class Source, class Ahead, std::int64_t kRows>
CROSSOVER_INLINE void add_block(Source& w, const ActivationBlock* const* x, Ahead& ahead, std::int64_t b, float (*total)[kRows]) {
  constexpr int kVectors = kTileVectors * (kRows / kPanelRows);
  w.enter(b);
  for (int v = 0; v < kPanelVectors * (kRows / kPanelRows); v += kVectors) add_vectors<kTokens, kVectors>(w, v, x, ahead, b, total);
}

// out[t][row] = or += `blocks` blocks of a source, of which the first `rows` rows exist; x: blocks of each token.
template <int kTokens, class Source, class Ahead>
CROSSOVER_INLINE void add_blocks(Source w, std::int64_t blocks, const ActivationBlock* const* x, Ahead& ahead, bool accumulate, std::int64_t rows,
                                 float* out, std::int64_t out_stride) {
  constexpr std::int64_t kRows = Source::kPanels * kPanelRows;
  alignas(64) float total[kTokens][kRows];
  for (int t = 0; t < kTokens; ++t)
    for (std::int64_t r = 0; r < kRows; ++r) total[t][r] = accumulate && r < rows ? out[t * out_stride + r] : 0.0f;
  for (std::int64_t b = 0; b < blocks; ++b) add_block<kTokens>(w, x, ahead, b, total);
  for (int t = 0; t < kTokens; ++t)
    for (std::int64_t r = 0; r < rows; ++r) out[t * out_stride + r] = total[t][r];
}

template <class Source, class Ahead>
CROSSOVER_INLINE void add_blocks(std::int64_t tokens, Source w, std::int64_t blocks, const ActivationBlock* const* x, Ahead& ahead, bool accumulate,
                                 std::int64_t rows, float* out, std::int64_t out_stride) {
  if (tokens >= 4) return add_blocks<4>(w, blocks, x, ahead, accumulate, rows, out, out_stride);
  if (tokens == 3) return add_blocks<3>(w, blocks, x, ahead, accumulate, rows, out, out_stride);
  if (tokens == 2) return add_blocks<2>(w, blocks, x, ahead, accumulate, rows, out, out_stride);
  add_blocks<1>(w, blocks, x, ahead, accumulate, rows, out, out_stride);
}

}  // namespace crossover::cpu::CROSSOVER_ISA
