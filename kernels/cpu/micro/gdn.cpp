// Gated delta rule of one value head, state S [128 (k), 128 (v)]: S <- a S; d = b (v - S^T k); S <- S + k d^T; o = S^T q.
#include "kernels/cpu/micro.h"
#include "kernels/cpu/micro/product.h"

namespace crossover::cpu::CROSSOVER_ISA {
namespace {

constexpr std::int64_t kDim = kGdnHeadDim;
constexpr std::int64_t kChunk = kGdnChunkTokens;

// ---- recurrence ----

constexpr int kStripVectors = 2;
constexpr std::int64_t kStrip = 16 * kStripVectors;  // columns of the state that are swept together: 16 KB

// Up to 64 tokens side by side. In the operands a head's rows lie whole pages apart and would fight for a few sets of the caches.
struct TokenBlock {
  float k[kChunk][kDim], q[kChunk][kDim], v[kChunk][kDim];
  float decay[kChunk];  // e^g
  float beta[kChunk];
  std::int64_t tokens;
};

struct Strip {
  F16 lane[kStripVectors];
};

CROSSOVER_INLINE Strip zero_strip() {
  Strip s;
  for (F16& lane : s.lane) lane = zero();
  return s;
}

// S <- a S + k d^T, from `from` [128, kStrip] to `to`; o = S^T q and, with `more`, p = S^T k of the next token.
template <bool more>
CROSSOVER_INLINE void sweep(const float* from, float* to, std::int64_t to_stride, const TokenBlock& block, std::int64_t t, const Strip& d,
                            Strip& o, Strip& p) {
  const F16 decay = broadcast(block.decay[t]);
  const float *k = block.k[t], *q = block.q[t], *next_k = block.k[more ? t + 1 : t];
  Strip o_sum = zero_strip(), p_sum = zero_strip();
  for (std::int64_t i = 0; i < kDim; ++i) {
    const F16 ki = broadcast(k[i]), qi = broadcast(q[i]);
    for (int v = 0; v < kStripVectors; ++v) {
      const F16 s = fma(ki, d.lane[v], decay * load(from + i * kStrip + 16 * v));
      store(to + i * to_stride + 16 * v, s);
      o_sum.lane[v] = fma(qi, s, o_sum.lane[v]);
      if constexpr (more) p_sum.lane[v] = fma(broadcast(next_k[i]), s, p_sum.lane[v]);
    }
  }
  o = o_sum, p = p_sum;
}

// Columns of S are independent: a strip is copied to a buffer that stays in L1 and swept once per token. The sweep of token t
// updates S, reads o_t from it and already sums S^T k of token t + 1, so a call split anywhere gives the same bits.
void recurrent_strip(const TokenBlock& block, std::int64_t column, float* state, float* out, std::int64_t out_stride) {
  alignas(64) float local[kDim * kStrip];
  Strip p = zero_strip();
  for (std::int64_t i = 0; i < kDim; ++i) {
    for (int j = 0; j < kStripVectors; ++j) {
      const F16 s = load(state + i * kDim + column + 16 * j);
      store(local + i * kStrip + 16 * j, s);
      p.lane[j] = fma(broadcast(block.k[0][i]), s, p.lane[j]);
    }
  }
  for (std::int64_t t = 0; t < block.tokens; ++t) {
    const F16 a = broadcast(block.decay[t]), b = broadcast(block.beta[t]);
    Strip d, o;
    for (int j = 0; j < kStripVectors; ++j) d.lane[j] = b * (load(block.v[t] + column + 16 * j) - a * p.lane[j]);
    if (t + 1 < block.tokens) sweep<true>(local, local, kStrip, block, t, d, o, p);
    else sweep<false>(local, state + column, kDim, block, t, d, o, p);
    for (int j = 0; j < kStripVectors; ++j) store(out + t * out_stride + column + 16 * j, o.lane[j]);
  }
}

void gather_tokens(const GdnHead& head, std::int64_t first, TokenBlock& block) {
  block.tokens = head.tokens - first < kChunk ? head.tokens - first : kChunk;
  for (std::int64_t t = 0; t < block.tokens; ++t) {
    const std::int64_t row = first + t;
    for (std::int64_t i = 0; i < kDim; i += 16) {
      store(block.k[t] + i, load(head.k + row * head.k_stride + i));
      store(block.q[t] + i, load(head.q + row * head.q_stride + i));
      store(block.v[t] + i, load(head.v + row * head.v_stride + i));
    }
    block.decay[t] = __builtin_expf(head.g[row * head.g_stride]);
    block.beta[t] = head.beta[row * head.beta_stride];
  }
}

void recurrent_head(const GdnHead& head) {
  alignas(64) TokenBlock block;
  for (std::int64_t first = 0; first < head.tokens; first += kChunk) {
    gather_tokens(head, first, block);
    for (std::int64_t column = 0; column < kDim; column += kStrip)
      recurrent_strip(block, column, head.state, head.out + first * head.out_stride, head.out_stride);
  }
}

// ---- chunked scan ----
// With G the running sum of g inside the chunk and D_ij = e^(G_i - G_j) for i >= j:
//   (I + strict_lower(diag(b) K K^T o D)) X = diag(b) (V - diag(e^G) K S)    solved row by row, no inverse is formed
//   O = diag(e^G) Q S + (lower(Q K^T) o D) X
//   S <- e^(G_C) S + K^T diag(e^(G_C - G)) X
// Only differences of G are exponentiated, so nothing overflows; G is double because it may reach thousands while a difference
// near zero matters.

// What the value heads of one key head share.
struct ChunkKeys {
  float kt[kDim * kChunk];      // K^T [128, 64], columns past the last token are zero
  float kk[kChunk * kChunk];    // K K^T
  float qk[kChunk * kChunk];    // Q K^T
};

struct ChunkScratch {
  float solve[kChunk * kChunk];   // -diag(b) K K^T o D below the diagonal
  float attend[kChunk * kChunk];  // Q K^T o D up to the diagonal
  float x[kChunk * kDim];         // [64, 128]
};

constexpr std::int64_t kRows = 16;  // the triangles are worked off in blocks of this many rows

CROSSOVER_INLINE std::int64_t rows_at(std::int64_t first, std::int64_t tokens) { return tokens - first < kRows ? tokens - first : kRows; }

void chunk_keys(const GdnHead& head, float* scratch) {
  ChunkKeys& keys = *reinterpret_cast<ChunkKeys*>(scratch);
  const std::int64_t tokens = head.tokens, cols = (tokens + kRows - 1) / kRows * kRows;
  for (std::int64_t t = 0; t < tokens; ++t)
    for (std::int64_t i = 0; i < kDim; ++i) keys.kt[i * kChunk + t] = head.k[t * head.k_stride + i];
  for (std::int64_t i = 0; i < kDim; ++i)
    for (std::int64_t t = tokens; t < cols; ++t) keys.kt[i * kChunk + t] = 0.0f;
  for (std::int64_t first = 0; first < tokens; first += kRows) {  // columns past the diagonal block are never read
    const std::int64_t rows = rows_at(first, tokens), width = first + kRows;
    product(head.k + first * head.k_stride, head.k_stride, keys.kt, kChunk, rows, width, kDim, keys.kk + first * kChunk, kChunk, nullptr);
    product(head.q + first * head.q_stride, head.q_stride, keys.kt, kChunk, rows, width, kDim, keys.qk + first * kChunk, kChunk, nullptr);
  }
}

// Running sums of g, the decay from the start of the chunk to each token and from each token to its end.
struct ChunkDecay {
  double sum[kChunk];
  float from_start[kChunk], to_end[kChunk];
  float whole;
};

void chunk_decay(const GdnHead& head, ChunkDecay& decay) {
  double total = 0;
  for (std::int64_t t = 0; t < head.tokens; ++t) {
    const float g = head.g[t * head.g_stride];
    total += g > -1e4f ? static_cast<double>(g) : -1e4;  // e^-10000 is 0 already; -inf would give inf - inf below
    decay.sum[t] = total;
  }
  for (std::int64_t t = 0; t < head.tokens; ++t) {
    decay.from_start[t] = __builtin_expf(static_cast<float>(decay.sum[t]));
    decay.to_end[t] = __builtin_expf(static_cast<float>(total - decay.sum[t]));
  }
  decay.whole = __builtin_expf(static_cast<float>(total));
}

// Rows of `solve` and `attend`; their last vector is zero past the diagonal.
void chunk_masks(const GdnHead& head, const ChunkKeys& keys, const ChunkDecay& decay, ChunkScratch& scratch) {
  for (std::int64_t i = 0; i < head.tokens; ++i) {
    const F16 minus_beta = broadcast(-head.beta[i * head.beta_stride]);
    for (std::int64_t j = 0; j <= i; j += 16) {
      float difference[16], attends[16], solves[16];
      for (std::int64_t n = 0; n < 16; ++n) {
        difference[n] = j + n <= i ? static_cast<float>(decay.sum[i] - decay.sum[j + n]) : 0.0f;
        attends[n] = j + n <= i ? 1.0f : 0.0f;
        solves[n] = j + n < i ? 1.0f : 0.0f;
      }
      const F16 d = exp(load(difference));
      store(scratch.attend + i * kChunk + j, load(keys.qk + i * kChunk + j) * d * load(attends));
      store(scratch.solve + i * kChunk + j, load(keys.kk + i * kChunk + j) * d * minus_beta * load(solves));
    }
  }
}

// x <- (I - solve)^-1 x by forward substitution: blocks of sixteen rows take the earlier rows as one product.
void solve_rows(const float* solve, std::int64_t tokens, float* x) {
  const float one = 1.0f;
  for (std::int64_t first = 0; first < tokens; first += kRows) {
    const std::int64_t rows = rows_at(first, tokens);
    const float* a = solve + first * kChunk;
    if (first > 0) product(a, kChunk, x, kDim, rows, kDim, first, x + first * kDim, kDim, &one);
    for (std::int64_t i = 1; i < rows; ++i)
      for (std::int64_t c = 0; c < kDim; c += 64)
        product_tile<1, 4>(a + i * kChunk + first, kChunk, x + first * kDim + c, kDim, i, x + (first + i) * kDim + c, kDim, &one);
  }
}

CROSSOVER_INLINE void scale_rows(float* x, std::int64_t stride, const float* factor, std::int64_t rows) {
  for (std::int64_t t = 0; t < rows; ++t)
    for (std::int64_t c = 0; c < kDim; c += 16) store(x + t * stride + c, broadcast(factor[t]) * load(x + t * stride + c));
}

// X of the chunk: what each token writes into the state.
void chunk_writes(const GdnHead& head, const ChunkDecay& decay, ChunkScratch& scratch) {
  product(head.k, head.k_stride, head.state, kDim, head.tokens, kDim, kDim, scratch.x, kDim, nullptr);
  for (std::int64_t t = 0; t < head.tokens; ++t) {
    const F16 a = broadcast(decay.from_start[t]), b = broadcast(head.beta[t * head.beta_stride]);
    for (std::int64_t c = 0; c < kDim; c += 16) {
      float* x = scratch.x + t * kDim + c;
      store(x, b * (load(head.v + t * head.v_stride + c) - a * load(x)));
    }
  }
  solve_rows(scratch.solve, head.tokens, scratch.x);
}

void chunk_head(const GdnHead& head, const float* shared, float* memory) {
  const ChunkKeys& keys = *reinterpret_cast<const ChunkKeys*>(shared);
  ChunkScratch& scratch = *reinterpret_cast<ChunkScratch*>(memory);
  const std::int64_t tokens = head.tokens;
  ChunkDecay decay;
  chunk_decay(head, decay);
  chunk_masks(head, keys, decay, scratch);
  chunk_writes(head, decay, scratch);

  const float one = 1.0f;
  product(head.q, head.q_stride, head.state, kDim, tokens, kDim, kDim, head.out, head.out_stride, nullptr);
  scale_rows(head.out, head.out_stride, decay.from_start, tokens);
  for (std::int64_t first = 0; first < tokens; first += kRows) {
    const std::int64_t rows = rows_at(first, tokens);
    product(scratch.attend + first * kChunk, kChunk, scratch.x, kDim, rows, kDim, first + rows, head.out + first * head.out_stride,
            head.out_stride, &one);
  }
  scale_rows(scratch.x, kDim, decay.to_end, tokens);
  product(keys.kt, kChunk, scratch.x, kDim, kDim, kDim, tokens, head.state, kDim, &decay.whole);
}

}  // namespace

extern const GdnMicro gdn;
const GdnMicro gdn = {recurrent_head, chunk_keys, chunk_head, sizeof(ChunkKeys) / sizeof(float), sizeof(ChunkScratch) / sizeof(float)};

}  // namespace crossover::cpu::CROSSOVER_ISA
