// What a value head needs of a chunk before its state is read: decay, the masked products of K and Q with K^T, and the inverses.
#pragma once

#include "kernels/cpu/tiles/gdn_operands.h"

namespace crossover::cpu::CROSSOVER_ISA::scan {

struct HeadChunk {
  alignas(64) float sums[kChunk];                        // running sums of g inside each block of 16 tokens
  alignas(64) float from_start[kChunk], to_end[kChunk], beta[kChunk];
  float whole;
  alignas(64) float solve[kChunk][kHalf];                // -diag(b) K K^T o D below the diagonal, of the two halves
  Tile between[2];                                       // -diag(b) K K^T o D: rows of the second half, columns of the first
  Tile inverse[kBlocks];                                 // T - I of each half
  Tile attend[kBlocks][2];                               // lower(Q K^T) o D
  Tile q[kBlocks][kFeatureSteps];                        // diag(e^G) Q
};

// e^x, and 0 where that is less than 4e-18: what decayed further would meet others as small in products below the normal range,
// which take a hundred times as long.
CROSSOVER_INLINE F16 decay(F16 x) { return select(greater(x, broadcast(-40.0f)), exp(x), zero()); }

// Sums of g start anew with every block, so that f32 holds differences inside a block; between blocks nothing cancels.
inline void set_decay(const GdnHead& head, std::int64_t first, std::int64_t tokens, HeadChunk& c) {
  float total[kBlocks];
  for (std::int64_t b = 0; b < kBlocks; ++b) {
    float sum = 0;
    for (std::int64_t t = kSide * b; t < kSide * (b + 1); ++t) {
      const float g = t < tokens ? head.g[(first + t) * head.g_stride] : 0.0f;
      sum += g > -100.0f ? g : -100.0f;
      c.sums[t] = sum;
      c.beta[t] = t < tokens ? head.beta[(first + t) * head.beta_stride] : 0.0f;
    }
    total[b] = sum;
  }
  float before = 0;
  for (std::int64_t b = 0; b < kBlocks; ++b) {
    store(c.from_start + kSide * b, decay(load(c.sums + kSide * b) + broadcast(before)));
    before += total[b];
  }
  c.whole = c.from_start[kChunk - 1];
  float after = 0;
  for (std::int64_t b = kBlocks; b-- > 0;) {
    after += total[b];
    store(c.to_end + kSide * b, decay(broadcast(after) - load(c.sums + kSide * b)));
  }
}

// D_ij = e^(G_i - G_n) e^(G_n - G_j) for an i of a later block than j, n the last token of the block of j.
struct Between {
  alignas(64) float until_end[kBlocks][kSide];              // e^(G_n - G_j)
  alignas(64) float since_end[kBlocks][kBlocks][kSide];     // e^(G_i - G_n), [block of j][block of i]
};

inline void set_between(const HeadChunk& c, std::int64_t blocks, Between& between) {
  for (std::int64_t n = 0; n + 1 < blocks; ++n) {
    store(between.until_end[n], decay(broadcast(c.sums[kSide * n + kSide - 1]) - load(c.sums + kSide * n)));
    float total = 0;
    for (std::int64_t m = n + 1; m < blocks; ++m) {
      store(between.since_end[n][m], decay(load(c.sums + kSide * m) + broadcast(total)));
      total += c.sums[kSide * m + kSide - 1];
    }
  }
}

// Rows of block m of the masked products of K and Q with K^T.
template <int m>
void set_masks(const ChunkKeys& keys, const Between& between, HeadChunk& c) {
  alignas(64) float lower[2 * kSide];  // row i of the lower triangle starts at 16 - i - 1
  for (int n = 0; n < 2 * kSide; ++n) lower[n] = n < kSide ? 1.0f : 0.0f;
  const F16 sums = load(c.sums + kSide * m);
  for (std::int64_t i = 0; i < kSide; ++i) {
    const std::int64_t t = kSide * m + i;
    const float *kk = keys.kk[t], *qk = keys.qk[t];
    const auto of_block = [&](int n) { return broadcast(between.since_end[n][m][i]) * load(between.until_end[n]); };
    const F16 d = decay(min(broadcast(c.sums[t]) - sums, zero())), strength = broadcast(-c.beta[t]);
    const F16 attend = load(qk + kSide * m) * d * load(lower + kSide - 1 - i);
    store(c.solve[t] + kSide * (m % 2), load(kk + kSide * m) * d * strength * load(lower + kSide - i));
    if constexpr (m % 2 == 0) {
      store_row(c.attend[m][m / 2].pair[i], attend, zero());
    } else {
      const F16 near = of_block(m - 1);
      store(c.solve[t], load(kk + kSide * (m - 1)) * near * strength);
      store_row(c.attend[m][m / 2].pair[i], load(qk + kSide * (m - 1)) * near, attend);
    }
    if constexpr (m >= 2) {
      const F16 far = of_block(0), middle = of_block(1);
      store_row(c.attend[m][0].pair[i], load(qk) * far, load(qk + kSide) * middle);
      store_row(c.between[m - 2].pair[i], load(kk) * far * strength, load(kk + kSide) * middle * strength);
    }
  }
}

// x <- (I - solve)^-1 x, solve strictly lower.
CROSSOVER_INLINE void substitute(const float* solve, F16 (&x)[kSide]) {
#pragma GCC unroll 16
  for (int j = 0; j < kSide - 1; ++j)
#pragma GCC unroll 16
    for (int r = j + 1; r < kSide; ++r) x[r] = fma(broadcast(solve[r * kHalf + j]), x[j], x[r]);
}

struct Identity {
  alignas(64) float lane[2 * kSide] = {};
  Identity() { lane[kSide - 1] = 1; }
  CROSSOVER_INLINE F16 row(int r) const { return load(lane + kSide - 1 - r); }
};

// T - I of the half from row `first` on.
inline void set_inverse(HeadChunk& c, std::int64_t first) {
  alignas(64) float upper[kSide][kSide];
  F16 x[kSide];
  const Identity identity;
#pragma GCC unroll 16
  for (int r = 0; r < kSide; ++r) x[r] = identity.row(r);
  substitute(c.solve[first], x);
  Tile* tile = c.inverse + first / kSide;
#pragma GCC unroll 16
  for (int r = 0; r < kSide; ++r) store(upper[r], x[r]), store_row(tile[0].pair[r], x[r] - identity.row(r), zero());
  const float* solve = c.solve[first + kSide];
#pragma GCC unroll 16
  for (int r = 0; r < kSide; ++r) x[r] = zero();
  for (int j = 0; j < kSide; ++j) {
    const F16 row = load(upper[j]);
#pragma GCC unroll 16
    for (int r = 0; r < kSide; ++r) x[r] = fma(broadcast(solve[r * kHalf + j]), row, x[r]);
  }
  substitute(solve + kSide, x);
#pragma GCC unroll 16
  for (int r = 0; r < kSide; ++r) store(upper[r], x[r]);
#pragma GCC unroll 16
  for (int r = 0; r < kSide; ++r) x[r] = identity.row(r);
  substitute(solve + kSide, x);
#pragma GCC unroll 16
  for (int r = 0; r < kSide; ++r) store_row(tile[1].pair[r], load(upper[r]), x[r] - identity.row(r));
}

inline void scale_queries(const ChunkRows& rows, HeadChunk& c) {
  for (std::int64_t t = 0; t < rows.halves * kHalf; ++t) {
    const F16 scale = broadcast(c.from_start[t]);
    const float* q = rows.q + t * rows.q_stride;
    for (std::int64_t s = 0; s < kFeatureSteps; ++s)
      store_row(c.q[t / kSide][s].pair[t % kSide], load(q + kStep * s) * scale, load(q + kStep * s + kSide) * scale);
  }
}

inline void prepare(const GdnHead& head, std::int64_t first, std::int64_t tokens, const ChunkKeys& keys, const ChunkRows& rows, HeadChunk& c) {
  set_decay(head, first, tokens, c);
  Between between;
  set_between(c, 2 * rows.halves, between);
  set_masks<0>(keys, between, c), set_masks<1>(keys, between, c);
  if (rows.halves > 1) set_masks<2>(keys, between, c), set_masks<3>(keys, between, c);
  for (std::int64_t h = 0; h < rows.halves; ++h) set_inverse(c, kHalf * h);
  scale_queries(rows, c);
}

}  // namespace crossover::cpu::CROSSOVER_ISA::scan
