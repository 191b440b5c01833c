// The chunked scan (kernels/cpu/micro/gdn_chunk.h) on tiles, chunks of C = 64 tokens. With G the running sum of g inside the chunk,
// D_ij = e^(G_i - G_j) for i >= j, and the two halves of a chunk numbered 0 and 1:
//   R  = diag(b) (V - diag(e^G) K S)
//   X0 = T0 R0,  X1 = T1 (R1 - (diag(b) K1 K0^T o D) X0)       T = (I + strict_lower(diag(b) K K^T o D))^-1 of a half
//   O  = (diag(e^G) Q) S + (lower(Q K^T) o D) X
//   S <- e^(G_C) S + K^T diag(e^(G_C - G)) X
// State, sums and the inverses are f32; operands of products are rounded to bf16, the state to a copy that is made anew by every chunk.
// T R is R, in f32, plus (T - I) R, so that R costs nothing where tokens do not interfere.
//
// A product of tiles takes 16 cycles: with 480 of them for a chunk and head and 96 for its keys some 130 cycles for a token and head. What
// else there is takes longer: vectors that turn sums into operands, loads and stores of tiles, and lines that are written to the
// second-level cache, 4 to 5 cycles each; so no more of what is written than fits the first level is held at a time.
#include "kernels/cpu/micro/transpose.h"
#include "kernels/cpu/tiles/gdn_columns.h"
#include "kernels/cpu/tiles/tile_micro.h"

namespace crossover::cpu::CROSSOVER_ISA {

using namespace scan;

namespace {

// Tokens past the last one are zero.
void chunk_keys(const GdnHead& head, void* memory) {
  auto* keys = static_cast<ChunkKeys*>(memory);
  Tiles unit(kTiles);
  for (std::int64_t first = 0; first < head.tokens; first += kChunk, ++keys) {
    const std::int64_t tokens = head.tokens - first < kChunk ? head.tokens - first : kChunk, halves = tokens > kHalf ? 2 : 1;
    Tile q[kBlocks][kFeatureSteps], kt[kFeatureSteps][2][2], pairs;
    const auto key = [&](std::int64_t t, std::int64_t i) { return t < tokens ? load(head.k + (first + t) * head.k_stride + i) : zero(); };
    const auto query = [&](std::int64_t t, std::int64_t i) { return t < tokens ? load(head.q + (first + t) * head.q_stride + i) : zero(); };
    for (std::int64_t t = 0; t < halves * kHalf; ++t)
      for (std::int64_t s = 0; s < kFeatureSteps; ++s) {
        store_row(keys->k[t / kSide][s].pair[t % kSide], key(t, kStep * s), key(t, kStep * s + kSide));
        store_row(q[t / kSide][s].pair[t % kSide], query(t, kStep * s), query(t, kStep * s + kSide));
      }
    for (std::int64_t b = 0; b < 2 * halves; ++b)
      for (std::int64_t s = 0; s < kFeatureSteps; ++s)
        transpose_16x16(reinterpret_cast<const float*>(&keys->k[b][s]), kSide, reinterpret_cast<float*>(&kt[s][b / 2][b % 2]), kSide);
    for (std::int64_t f = 0; f < kDim / kSide; ++f)
      for (std::int64_t h = 0; h < halves; ++h) {
        for (std::int64_t p = 0; p < kSide; ++p) store_pairs(pairs.pair[p], key(kHalf * h + 2 * p, kSide * f), key(kHalf * h + 2 * p + 1, kSide * f));
        transpose_16x16(reinterpret_cast<const float*>(&pairs), kSide, reinterpret_cast<float*>(&keys->kt[f][h]), kSide);
      }
    for (std::int64_t m = 0; m < halves; ++m)
      for (std::int64_t n = 0; n <= m; ++n) {
        zero_sums(unit);
        for (std::int64_t s = 0; s < kFeatureSteps; ++s) add_step(unit, keys->k[2 * m][s], keys->k[2 * m + 1][s], kt[s][n]);
        store_sums(unit, &keys->kk[kHalf * m][kHalf * n], kChunk);
        zero_sums(unit);
        for (std::int64_t s = 0; s < kFeatureSteps; ++s) add_step(unit, q[2 * m][s], q[2 * m + 1][s], kt[s][n]);
        store_sums(unit, &keys->qk[kHalf * m][kHalf * n], kChunk);
      }
  }
}

struct Scratch {
  ChunkRows rows[kBlockChunks];
  HeadChunk chunk[kBlockChunks];
  Columns columns[2];
  alignas(64) float v[kChunk][kDim], q[kChunk][kDim], out[kChunk][kDim];  // of a chunk of fewer tokens
};

void gather(const float* from, std::int64_t stride, std::int64_t tokens, float (*to)[kDim]) {
  __builtin_memset(to, 0, kChunk * sizeof *to);
  for (std::int64_t t = 0; t < tokens; ++t) __builtin_memcpy(to[t], from + t * stride, sizeof *to);
}

// The rows of a chunk; of one of fewer tokens through padded copies.
ChunkRows rows_of(const GdnHead& head, std::int64_t first, std::int64_t tokens, Scratch& s) {
  const std::int64_t halves = tokens > kHalf ? 2 : 1;
  const float *v = head.v + first * head.v_stride, *q = head.q + first * head.q_stride;
  if (tokens == kChunk) return {v, q, head.out + first * head.out_stride, head.v_stride, head.q_stride, head.out_stride, halves};
  gather(v, head.v_stride, tokens, s.v), gather(q, head.q_stride, tokens, s.q);
  return {s.v[0], s.q[0], s.out[0], kDim, kDim, kDim, halves};
}

// While `last` is written, `now` gets its X, and `next` is read; each may be null. fresh: the first chunk of these columns.
void turn(Tiles& unit, const ChunkColumns* last, const ChunkColumns* now, const ChunkColumns* next, bool fresh) {
  const bool is_long = now && now->rows.halves > 1;
  const auto residual = [&](int half, int slice) __attribute__((always_inline)) { if (now && half == 0) now->residual<0>(slice); };
  if (last) last->output(unit, residual);
  else for (int i = 0; i < 4; ++i) residual(0, i);
  if (now) now->solve(unit, 0);
  for (int f = 0; f < kFeatureSteps; ++f) {
    if (f == 2 && is_long) now->correct(unit);
    const auto beside = [&](int half) __attribute__((always_inline)) {
      if (f < 2 && now) now->keep(0, 2 * f + half);
      if (f >= 2 && is_long) now->residual<1>(2 * (f - 2) + half);
      if (f > 0 && last) last->update(f - 1, 2 * half), last->update(f - 1, 2 * half + 1);
    };
    if (last) last->gain(unit, f, beside);
    else beside(0), beside(1);
  }
  if (is_long) now->solve(unit, 1);
  for (int i = 0; i < 4 && last; ++i) last->update(kFeatureSteps - 1, i);
  if (next && fresh) next->copy_state();
  const auto keep = [&](int half, int slice) __attribute__((always_inline)) { if (is_long && half == 0) now->keep(1, slice); };
  if (next) next->read(unit, keep);
  else for (int i = 0; i < 4; ++i) keep(0, i);
}

void chunk_head(const GdnHead& head, const void* shared, void* memory) {
  const auto* keys = static_cast<const ChunkKeys*>(shared);
  auto& s = *static_cast<Scratch*>(memory);
  const std::int64_t chunks = (head.tokens + kChunk - 1) / kChunk, rest = head.tokens - (chunks - 1) * kChunk;
  for (std::int64_t n = 0; n < chunks; ++n) {
    const std::int64_t tokens = n + 1 < chunks ? kChunk : rest;
    s.rows[n] = rows_of(head, n * kChunk, tokens, s);
    prepare(head, n * kChunk, tokens, keys[n], s.rows[n], s.chunk[n]);
  }
  Tiles unit(kTiles);
  Soon soon(head);
  const std::int64_t strip = 2 * chunks, steps = kDim / (2 * kHalf) * strip;  // of two times 32 columns that take turns
  const auto step = [&](std::int64_t t) {
    const std::int64_t n = t % strip / 2, column = kHalf * (t / strip * 2 + t % 2);
    return ChunkColumns{keys[n], s.chunk[n], s.rows[n], head.state, column, s.columns[t % 2], soon};
  };
  for (std::int64_t t = -1; t <= steps; ++t) {
    const bool is_last = t > 0, is_now = t >= 0 && t < steps, is_next = t + 1 < steps;
    const ChunkColumns last = step(is_last ? t - 1 : 0), now = step(is_now ? t : 0), next = step(is_next ? t + 1 : 0);
    turn(unit, is_last ? &last : nullptr, is_now ? &now : nullptr, is_next ? &next : nullptr, (t + 1) % strip < 2);
  }
  if (rest < kChunk)
    for (std::int64_t t = 0; t < rest; ++t) __builtin_memcpy(head.out + ((chunks - 1) * kChunk + t) * head.out_stride, s.out[t], sizeof s.out[t]);
}

}  // namespace

extern const GdnChunks gdn_chunks;
const GdnChunks gdn_chunks = {"amx-chunked-bf16", chunk_keys, chunk_head, kBlockChunks * static_cast<std::int64_t>(sizeof(ChunkKeys)), sizeof(Scratch),
                              kChunk, true, 10};

}  // namespace crossover::cpu::CROSSOVER_ISA
