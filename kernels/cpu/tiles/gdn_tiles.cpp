// The chunked scan (kernels/cpu/micro/gdn_chunk.h) on tiles, chunks of C = 64 tokens. With G the running sum of g inside the chunk,
// D_ij = e^(G_i - G_j) for i >= j, and the two halves of a chunk numbered 0 and 1:
//   R  = diag(b) (V - diag(e^G) K S)
//   X0 = T0 R0,  X1 = T1 (R1 - (diag(b) K1 K0^T o D) X0)       T = (I + strict_lower(diag(b) K K^T o D))^-1 of a half
//   O  = (diag(e^G) Q) S + (lower(Q K^T) o D) X
//   S <- e^(G_C) S + K^T diag(e^(G_C - G)) X
// State, sums and the inverses are f32; operands of products are rounded to bf16, the state to a copy that is made anew by every chunk.
#include "kernels/cpu/micro/simd.h"
#include "kernels/cpu/micro/transpose.h"
#include "kernels/cpu/tiles/gdn_tiles.h"
#include "kernels/cpu/tiles/tiles.h"

namespace crossover::cpu::CROSSOVER_ISA {
namespace {

constexpr std::int64_t kDim = kGdnHeadDim;
constexpr std::int64_t kSide = 16;                       // rows and 32-bit columns of a tile
constexpr std::int64_t kStep = 32;                       // values along the sum of a product
constexpr std::int64_t kChunk = 64, kHalf = 32;          // tokens
constexpr std::int64_t kFeatureSteps = kDim / kStep;
constexpr std::int64_t kBlocks = kChunk / kSide;         // of tokens of a chunk
constexpr std::int64_t kStrip = 64;                      // columns of the state that pass all steps together
constexpr std::int64_t kStripTiles = kStrip / kSide;
constexpr TileConfig kTiles = full_tiles();

// Pairs of bf16 along the sum, the first in the low half: as the left operand [row][pair], as the right one [pair][column].
struct alignas(64) Tile { std::uint32_t pair[kSide][16]; };

#if defined(__AVX512BF16__)
// Lane n is the pair (first[n], second[n]).
CROSSOVER_INLINE void store_pairs(std::uint32_t* to, F16 first, F16 second) {
  const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512i neighbours = _mm512_or_si512(lanes, _mm512_slli_epi32(_mm512_add_epi32(lanes, _mm512_set1_epi32(16)), 16));
  _mm512_store_si512(to, _mm512_permutexvar_epi16(neighbours, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(second.v, first.v))));
}
// Sixteen values, then sixteen more.
CROSSOVER_INLINE void store_row(std::uint32_t* to, F16 low, F16 high) { _mm512_store_si512(to, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high.v, low.v))); }
#else
// To nearest, ties to even; what is not a number stays so.
CROSSOVER_INLINE std::uint32_t bf16_of(float x) {
  const auto bits = __builtin_bit_cast(std::uint32_t, x);
  if (x != x) return bits >> 16 | 0x40;
  return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}
CROSSOVER_INLINE void store_pairs(std::uint32_t* to, F16 first, F16 second) {
  float x[16], y[16];
  store(x, first), store(y, second);
  for (int i = 0; i < 16; ++i) to[i] = bf16_of(x[i]) | bf16_of(y[i]) << 16;
}
CROSSOVER_INLINE void store_row(std::uint32_t* to, F16 low, F16 high) {
  float x[32];
  store(x, low), store(x + 16, high);
  for (int i = 0; i < 16; ++i) to[i] = bf16_of(x[2 * i]) | bf16_of(x[2 * i + 1]) << 16;
}
#endif

// Sums of two by two tiles.
CROSSOVER_INLINE void zero_sums(Tiles& unit) { unit.zero<0>(), unit.zero<1>(), unit.zero<2>(), unit.zero<3>(); }

CROSSOVER_INLINE void add_step(Tiles& unit, const Tile& upper, const Tile& lower, const Tile& left, const Tile& right) {
  unit.load<4>(&upper, 64), unit.load<6>(&left, 64);
  unit.add_products<0, 4, 6>();
  unit.load<7>(&right, 64);
  unit.add_products<1, 4, 7>();
  unit.load<5>(&lower, 64);
  unit.add_products<2, 5, 6>();
  unit.add_products<3, 5, 7>();
}

CROSSOVER_INLINE void store_sums(Tiles& unit, float* to, std::int64_t stride) {
  unit.store<0>(to, 4 * stride), unit.store<1>(to + kSide, 4 * stride);
  unit.store<2>(to + kSide * stride, 4 * stride), unit.store<3>(to + kSide * stride + kSide, 4 * stride);
}

// ---- what the value heads of a key head share ----

struct ChunkKeys {
  Tile k[kBlocks][kFeatureSteps];    // K: rows are tokens
  Tile kt[kDim / kSide][2];          // K^T: rows are features, [..][half]
  alignas(64) float kk[kChunk][kChunk], qk[kChunk][kChunk];  // K K^T and Q K^T, up to the diagonal's blocks
};

// Tokens past the last one are zero.
void chunk_keys(const GdnHead& head, void* memory) {
  auto* keys = static_cast<ChunkKeys*>(memory);
  Tiles unit(kTiles);
  for (std::int64_t first = 0; first < head.tokens; first += kChunk, ++keys) {
    const std::int64_t tokens = head.tokens - first < kChunk ? head.tokens - first : kChunk, halves = tokens > kHalf ? 2 : 1;
    Tile q[kBlocks][kFeatureSteps], kt[kBlocks][kFeatureSteps], pairs;
    const auto key = [&](std::int64_t t, std::int64_t i) { return t < tokens ? load(head.k + (first + t) * head.k_stride + i) : zero(); };
    const auto query = [&](std::int64_t t, std::int64_t i) { return t < tokens ? load(head.q + (first + t) * head.q_stride + i) : zero(); };
    for (std::int64_t t = 0; t < halves * kHalf; ++t)
      for (std::int64_t s = 0; s < kFeatureSteps; ++s) {
        store_row(keys->k[t / kSide][s].pair[t % kSide], key(t, kStep * s), key(t, kStep * s + kSide));
        store_row(q[t / kSide][s].pair[t % kSide], query(t, kStep * s), query(t, kStep * s + kSide));
      }
    for (std::int64_t b = 0; b < 2 * halves; ++b)
      for (std::int64_t s = 0; s < kFeatureSteps; ++s)
        transpose_16x16(reinterpret_cast<const float*>(&keys->k[b][s]), kSide, reinterpret_cast<float*>(&kt[b][s]), kSide);
    for (std::int64_t f = 0; f < kDim / kSide; ++f)
      for (std::int64_t h = 0; h < halves; ++h) {
        for (std::int64_t p = 0; p < kSide; ++p) store_pairs(pairs.pair[p], key(kHalf * h + 2 * p, kSide * f), key(kHalf * h + 2 * p + 1, kSide * f));
        transpose_16x16(reinterpret_cast<const float*>(&pairs), kSide, reinterpret_cast<float*>(&keys->kt[f][h]), kSide);
      }
    for (std::int64_t m = 0; m < halves; ++m)
      for (std::int64_t n = 0; n <= m; ++n) {
        zero_sums(unit);
        for (std::int64_t s = 0; s < kFeatureSteps; ++s) add_step(unit, keys->k[2 * m][s], keys->k[2 * m + 1][s], kt[2 * n][s], kt[2 * n + 1][s]);
        store_sums(unit, &keys->kk[kHalf * m][kHalf * n], kChunk);
        zero_sums(unit);
        for (std::int64_t s = 0; s < kFeatureSteps; ++s) add_step(unit, q[2 * m][s], q[2 * m + 1][s], kt[2 * n][s], kt[2 * n + 1][s]);
        store_sums(unit, &keys->qk[kHalf * m][kHalf * n], kChunk);
      }
  }
}

// ---- one value head ----

struct HeadChunk {
  alignas(64) float sums[kChunk];                        // running sums of g inside each block of 16 tokens
  alignas(64) float from_start[kChunk], to_end[kChunk], beta[kChunk];
  float whole;
  alignas(64) float solve[kChunk][kHalf];                // -diag(b) K K^T o D below the diagonal, of the two halves
  Tile inverse[kBlocks];                                 // T of each half
  Tile between[2];                                       // diag(b) K1 K0^T o D
  Tile attend[kBlocks][2];                               // lower(Q K^T) o D
  Tile q[kBlocks][kFeatureSteps];                        // diag(e^G) Q
};

struct Scratch {
  HeadChunk chunk;
  Tile state[kFeatureSteps][kDim / kSide];               // of S, [features][columns]
  Tile r[kStripTiles], x[2][kStripTiles], kept[2][kDim / kSide];
  alignas(64) float ks[kChunk][kStrip], sums[kHalf][kStrip], writes[2][kStep][kDim];
  alignas(64) float v[kChunk][kDim], q_rows[kChunk][kDim], out[kChunk][kDim];  // of a chunk of fewer tokens
};

// e^x, and 0 where that is less than 4e-18: what decayed further would meet others as small in products below the normal range,
// which take a hundred times as long.
CROSSOVER_INLINE F16 decay(F16 x) { return select(greater(x, broadcast(-40.0f)), exp(x), zero()); }

// Sums of g start anew with every block, so that f32 holds differences inside a block; between blocks nothing cancels.
void set_decay(const GdnHead& head, std::int64_t first, std::int64_t tokens, HeadChunk& c) {
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

void set_between(const HeadChunk& c, std::int64_t blocks, Between& between) {
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
      const F16 beta = broadcast(c.beta[t]);
      store_row(c.between[m - 2].pair[i], load(kk) * far * beta, load(kk + kSide) * middle * beta);
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

CROSSOVER_INLINE void set_identity(F16 (&x)[kSide]) {
  alignas(64) float unit[2 * kSide] = {};
  unit[kSide - 1] = 1;
#pragma GCC unroll 16
  for (int r = 0; r < kSide; ++r) x[r] = load(unit + kSide - 1 - r);
}

// T of the half from row `first` on.
void set_inverse(HeadChunk& c, std::int64_t first) {
  alignas(64) float upper[kSide][kSide];
  F16 x[kSide];
  set_identity(x);
  substitute(c.solve[first], x);
  Tile *tile = c.inverse + first / kSide;
#pragma GCC unroll 16
  for (int r = 0; r < kSide; ++r) store(upper[r], x[r]), store_row(tile[0].pair[r], x[r], zero());
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
  set_identity(x);
  substitute(solve + kSide, x);
#pragma GCC unroll 16
  for (int r = 0; r < kSide; ++r) store_row(tile[1].pair[r], load(upper[r]), x[r]);
}

// A chunk of one head; rows of V, Q and O lie `stride` apart and are all there.
struct Rows64 {
  const float *v, *q;
  float* out;
  std::int64_t v_stride, q_stride, out_stride, halves;
};

void scale_queries(const Rows64& rows, HeadChunk& c) {
  for (std::int64_t t = 0; t < rows.halves * kHalf; ++t) {
    const F16 scale = broadcast(c.from_start[t]);
    const float* q = rows.q + t * rows.q_stride;
    for (std::int64_t s = 0; s < kFeatureSteps; ++s)
      store_row(c.q[t / kSide][s].pair[t % kSide], load(q + kStep * s) * scale, load(q + kStep * s + kSide) * scale);
  }
}

// R of a half as a right operand; `correct`: less what `sums` holds.
template <bool correct>
void set_residual(const Rows64& rows, std::int64_t half, std::int64_t column, Scratch& s) {
  for (std::int64_t p = 0; p < kSide; ++p) {
    const std::int64_t t = kHalf * half + 2 * p;
    const float *v = rows.v + t * rows.v_stride + column, *next = v + rows.v_stride;
    const F16 beta = broadcast(s.chunk.beta[t]), next_beta = broadcast(s.chunk.beta[t + 1]);
    const F16 scale = broadcast(-s.chunk.from_start[t]), next_scale = broadcast(-s.chunk.from_start[t + 1]);
    for (std::int64_t n = 0; n < kStripTiles; ++n) {
      F16 x = beta * fma(scale, load(s.ks[t] + kSide * n), load(v + kSide * n));
      F16 y = next_beta * fma(next_scale, load(s.ks[t + 1] + kSide * n), load(next + kSide * n));
      if constexpr (correct) x = x - load(s.sums[2 * p] + kSide * n), y = y - load(s.sums[2 * p + 1] + kSide * n);
      store_pairs(s.r[n].pair[p], x, y);
    }
  }
}

// X of a half, from `sums`, as right operands.
void set_writes(std::int64_t half, std::int64_t column, Scratch& s) {
  for (std::int64_t p = 0; p < kSide; ++p) {
    const F16 scale = broadcast(s.chunk.to_end[kHalf * half + 2 * p]), next_scale = broadcast(s.chunk.to_end[kHalf * half + 2 * p + 1]);
    for (std::int64_t n = 0; n < kStripTiles; ++n) {
      const F16 x = load(s.sums[2 * p] + kSide * n), y = load(s.sums[2 * p + 1] + kSide * n);
      store_pairs(s.x[half][n].pair[p], x, y);
      store_pairs(s.kept[half][column / kSide + n].pair[p], x * scale, y * next_scale);
    }
  }
}

// S <- whole S + writes for four of the 32 features that `writes` holds, and its copy.
CROSSOVER_INLINE void update_state(const float (*writes)[kDim], float whole, std::int64_t step, std::int64_t quarter, float* state, Scratch& s) {
  const F16 scale = broadcast(whole);
  for (std::int64_t p = 4 * quarter; p < 4 * (quarter + 1); ++p) {
    float *row = state + (kStep * step + 2 * p) * kDim, *next = row + kDim;
    for (std::int64_t n = 0; n < kDim / kSide; ++n) {
      const F16 x = fma(scale, load(row + kSide * n), load(writes[2 * p] + kSide * n));
      const F16 y = fma(scale, load(next + kSide * n), load(writes[2 * p + 1] + kSide * n));
      store(row + kSide * n, x), store(next + kSide * n, y);
      store_pairs(s.state[step][n].pair[p], x, y);
    }
  }
}

void copy_state(const float* state, Scratch& s) {
  for (std::int64_t i = 0; i < kDim; i += 2)
    for (std::int64_t n = 0; n < kDim / kSide; ++n)
      store_pairs(s.state[i / kStep][n].pair[i % kStep / 2], load(state + i * kDim + kSide * n), load(state + (i + 1) * kDim + kSide * n));
}

void add_writes(Tiles& unit, const ChunkKeys& keys, std::int64_t halves, float* state, Scratch& s) {
  for (std::int64_t f = 0; f <= kFeatureSteps; ++f)
    for (std::int64_t n = 0; n < 4; ++n) {
      if (f < kFeatureSteps) {
        zero_sums(unit);
        for (std::int64_t h = 0; h < halves; ++h) add_step(unit, keys.kt[2 * f][h], keys.kt[2 * f + 1][h], s.kept[h][2 * n], s.kept[h][2 * n + 1]);
        store_sums(unit, s.writes[f % 2][0] + kStep * n, kDim);
      }
      if (f > 0) update_state(s.writes[(f - 1) % 2], s.chunk.whole, f - 1, n, state, s);
    }
}

void chunk_strip(Tiles& unit, const ChunkKeys& keys, const Rows64& rows, std::int64_t column, Scratch& s) {
  const HeadChunk& c = s.chunk;
  const std::int64_t tile = column / kSide;
  for (std::int64_t m = 0; m < rows.halves; ++m)
    for (std::int64_t n = 0; n < kStripTiles; n += 2) {
      zero_sums(unit);
      for (std::int64_t i = 0; i < kFeatureSteps; ++i) add_step(unit, keys.k[2 * m][i], keys.k[2 * m + 1][i], s.state[i][tile + n], s.state[i][tile + n + 1]);
      store_sums(unit, &s.ks[kHalf * m][kSide * n], kStrip);
    }
  for (std::int64_t m = 0; m < rows.halves; ++m) {
    if (m == 0) set_residual<false>(rows, m, column, s);
    else set_residual<true>(rows, m, column, s);
    for (std::int64_t n = 0; n < kStripTiles; n += 2) {
      zero_sums(unit);
      add_step(unit, c.inverse[2 * m], c.inverse[2 * m + 1], s.r[n], s.r[n + 1]);
      store_sums(unit, &s.sums[0][kSide * n], kStrip);
    }
    set_writes(m, column, s);
    for (std::int64_t n = 0; m + 1 < rows.halves && n < kStripTiles; n += 2) {
      zero_sums(unit);
      add_step(unit, c.between[0], c.between[1], s.x[0][n], s.x[0][n + 1]);
      store_sums(unit, &s.sums[0][kSide * n], kStrip);
    }
  }
  for (std::int64_t m = 0; m < rows.halves; ++m)
    for (std::int64_t n = 0; n < kStripTiles; n += 2) {
      zero_sums(unit);
      for (std::int64_t i = 0; i < kFeatureSteps; ++i) add_step(unit, c.q[2 * m][i], c.q[2 * m + 1][i], s.state[i][tile + n], s.state[i][tile + n + 1]);
      for (std::int64_t i = 0; i <= m; ++i) add_step(unit, c.attend[2 * m][i], c.attend[2 * m + 1][i], s.x[i][n], s.x[i][n + 1]);
      store_sums(unit, rows.out + kHalf * m * rows.out_stride + column + kSide * n, rows.out_stride);
    }
}

void gather(const float* from, std::int64_t stride, std::int64_t tokens, float (*to)[kDim]) {
  __builtin_memset(to, 0, kChunk * sizeof *to);
  for (std::int64_t t = 0; t < tokens; ++t) __builtin_memcpy(to[t], from + t * stride, sizeof *to);
}

void chunk_head(const GdnHead& head, const void* shared, void* memory) {
  const auto* keys = static_cast<const ChunkKeys*>(shared);
  auto& s = *static_cast<Scratch*>(memory);
  Tiles unit(kTiles);
  copy_state(head.state, s);
  for (std::int64_t first = 0; first < head.tokens; first += kChunk, ++keys) {
    const std::int64_t tokens = head.tokens - first < kChunk ? head.tokens - first : kChunk, halves = tokens > kHalf ? 2 : 1;
    Rows64 rows{head.v + first * head.v_stride, head.q + first * head.q_stride, head.out + first * head.out_stride,
                head.v_stride, head.q_stride, head.out_stride, halves};
    if (tokens < kChunk) {
      gather(rows.v, rows.v_stride, tokens, s.v), gather(rows.q, rows.q_stride, tokens, s.q_rows);
      rows = {s.v[0], s.q_rows[0], s.out[0], kDim, kDim, kDim, halves};
    }
    set_decay(head, first, tokens, s.chunk);
    Between between;
    set_between(s.chunk, 2 * halves, between);
    set_masks<0>(*keys, between, s.chunk), set_masks<1>(*keys, between, s.chunk);
    if (halves > 1) set_masks<2>(*keys, between, s.chunk), set_masks<3>(*keys, between, s.chunk);
    for (std::int64_t h = 0; h < halves; ++h) set_inverse(s.chunk, kHalf * h);
    scale_queries(rows, s.chunk);
    for (std::int64_t column = 0; column < kDim; column += kStrip) chunk_strip(unit, *keys, rows, column, s);
    add_writes(unit, *keys, halves, head.state, s);
    for (std::int64_t t = 0; tokens < kChunk && t < tokens; ++t) __builtin_memcpy(head.out + (first + t) * head.out_stride, s.out[t], sizeof s.out[t]);
  }
}

constexpr std::int64_t kBlockChunks = kGdnBlockTokens / kChunk;

}  // namespace

extern const GdnChunks gdn_chunks;
const GdnChunks gdn_chunks = {"amx-chunked-bf16", chunk_keys, chunk_head, kBlockChunks * static_cast<std::int64_t>(sizeof(ChunkKeys)), sizeof(Scratch), kChunk, 12};

}  // namespace crossover::cpu::CROSSOVER_ISA
