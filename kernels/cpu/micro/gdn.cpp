// Gated delta rule of one value head, state S [128 (k), 128 (v)], for each token with the old S:
//   d = b (v - a S^T k);  o = a S^T q + (k.q) d;  S <- a S + k d^T        o is S^T q with the new S, without reading it again
// Every sum over k is one chain of fma in ascending order, so a call split anywhere, or by other loops, gives the same bits.
#include "kernels/cpu/micro.h"
#include "kernels/cpu/micro/gdn_bf16.h"
#include "kernels/cpu/micro/gdn_f32.h"

namespace crossover::cpu::CROSSOVER_ISA {
namespace {

// Sixteen lanes, `vectors` times, side by side.
template <int vectors>
struct Columns {
  F16 lane[vectors];
};

template <int vectors>
CROSSOVER_INLINE Columns<vectors> zero_columns() {
  Columns<vectors> s;
  for (F16& lane : s.lane) lane = zero();
  return s;
}

float dot_128(const float* x, const float* y) {
  F16 total = zero();
  for (std::int64_t i = 0; i < kDim; i += 16) total = fma(load(x + i), load(y + i), total);
  return sum(total);
}

struct Token {
  const float *k, *q, *v;
  float decay;  // e^g
  float beta;
  float kq;
};

CROSSOVER_INLINE Token token_of(const GdnHead& head, std::int64_t t) {
  const float *k = head.k + t * head.k_stride, *q = head.q + t * head.q_stride;
  return {k, q, head.v + t * head.v_stride, __builtin_expf(head.g[t * head.g_stride]), head.beta[t * head.beta_stride], dot_128(k, q)};
}

// d and o of one token from the sums with the old state; `read` holds S^T k and becomes d.
template <int vectors>
CROSSOVER_INLINE void write_and_output(const Token& token, std::int64_t column, const Columns<vectors>& sum_q, Columns<vectors>& read, float* out) {
  const F16 a = broadcast(token.decay), b = broadcast(token.beta), kq = broadcast(token.kq);
  for (int j = 0; j < vectors; ++j) {
    read.lane[j] = b * (load(token.v + column + 16 * j) - a * read.lane[j]);
    store(out + column + 16 * j, fma(kq, read.lane[j], a * sum_q.lane[j]));
  }
}

// ---- one token ----

#if defined(__AVX512F__)
constexpr int kDecodeVectors = 8;  // whole rows of the state: sixteen sums in registers, and memory is read in one run
#else
constexpr int kDecodeVectors = 2;
#endif

// Two passes over the state: the first waits for memory, the second finds its rows in the second-level cache, and meanwhile brings those
// of the next state, or null, there.
void decode_columns(const Token& token, std::int64_t column, float* state, const float* next_state, float* out) {
  Columns<kDecodeVectors> sum_k = zero_columns<kDecodeVectors>(), sum_q = sum_k;
  for (std::int64_t i = 0; i < kDim; ++i) {
    const F16 k = broadcast(token.k[i]), q = broadcast(token.q[i]);
#pragma GCC unroll 8
    for (int j = 0; j < kDecodeVectors; ++j) {
      const F16 s = load(state + i * kDim + column + 16 * j);
      sum_k.lane[j] = fma(k, s, sum_k.lane[j]);
      sum_q.lane[j] = fma(q, s, sum_q.lane[j]);
    }
  }
  write_and_output<kDecodeVectors>(token, column, sum_q, sum_k, out);
  const F16 a = broadcast(token.decay);
  for (std::int64_t i = 0; i < kDim; ++i) {
    const F16 k = broadcast(token.k[i]);
    for (int j = 0; next_state && j < kDecodeVectors; ++j) __builtin_prefetch(next_state + i * kDim + column + 16 * j);
#pragma GCC unroll 8
    for (int j = 0; j < kDecodeVectors; ++j) {
      float* s = state + i * kDim + column + 16 * j;
      store(s, fma(k, sum_k.lane[j], a * load(s)));
    }
  }
}

// ---- several tokens ----

constexpr std::int64_t kTokens = 64;
constexpr int kStripVectors = 2;
constexpr std::int64_t kStrip = 16 * kStripVectors;  // columns of the state that stay in L1 while all tokens pass: 16 KB
using Strip = Columns<kStripVectors>;

// Up to 64 tokens side by side. In the operands a head's rows lie whole pages apart and would fight for a few sets of the caches.
struct TokenBlock {
  float k[kTokens][kDim], q[kTokens][kDim], v[kTokens][kDim];
  Token token[kTokens];
  std::int64_t tokens;
};

// S <- a S + k d^T, from `from` [128, kStrip] to `to`; with `more`, the sums of the next token.
template <bool more>
CROSSOVER_INLINE void sweep(const float* from, float* to, std::int64_t to_stride, const TokenBlock& block, std::int64_t t, const Strip& d,
                            Strip& sum_k, Strip& sum_q) {
  const F16 decay = broadcast(block.token[t].decay);
  const float *k = block.k[t], *next_k = block.k[more ? t + 1 : t], *next_q = block.q[more ? t + 1 : t];
  Strip k_total = zero_columns<kStripVectors>(), q_total = k_total;
  for (std::int64_t i = 0; i < kDim; ++i) {
    const F16 ki = broadcast(k[i]);
    for (int v = 0; v < kStripVectors; ++v) {
      const F16 s = fma(ki, d.lane[v], decay * load(from + i * kStrip + 16 * v));
      store(to + i * to_stride + 16 * v, s);
      if constexpr (more) {
        k_total.lane[v] = fma(broadcast(next_k[i]), s, k_total.lane[v]);
        q_total.lane[v] = fma(broadcast(next_q[i]), s, q_total.lane[v]);
      }
    }
  }
  sum_k = k_total, sum_q = q_total;
}

// Columns of S are independent: a strip is copied to a buffer that stays in L1 and swept once per token.
void recurrent_strip(const TokenBlock& block, std::int64_t column, float* state, float* out, std::int64_t out_stride) {
  alignas(64) float local[kDim * kStrip];
  Strip sum_k = zero_columns<kStripVectors>(), sum_q = sum_k;
  for (std::int64_t i = 0; i < kDim; ++i) {
    for (int j = 0; j < kStripVectors; ++j) {
      const F16 s = load(state + i * kDim + column + 16 * j);
      store(local + i * kStrip + 16 * j, s);
      sum_k.lane[j] = fma(broadcast(block.k[0][i]), s, sum_k.lane[j]);
      sum_q.lane[j] = fma(broadcast(block.q[0][i]), s, sum_q.lane[j]);
    }
  }
  for (std::int64_t t = 0; t < block.tokens; ++t) {
    Strip d = sum_k;
    write_and_output<kStripVectors>(block.token[t], column, sum_q, d, out + t * out_stride);
    if (t + 1 < block.tokens) sweep<true>(local, local, kStrip, block, t, d, sum_k, sum_q);
    else sweep<false>(local, state + column, kDim, block, t, d, sum_k, sum_q);
  }
}

void gather_tokens(const GdnHead& head, std::int64_t first, TokenBlock& block) {
  block.tokens = head.tokens - first < kTokens ? head.tokens - first : kTokens;
  for (std::int64_t t = 0; t < block.tokens; ++t) {
    Token& token = block.token[t];
    token = token_of(head, first + t);
    for (std::int64_t i = 0; i < kDim; i += 16) {
      store(block.k[t] + i, load(token.k + i));
      store(block.q[t] + i, load(token.q + i));
      store(block.v[t] + i, load(token.v + i));
    }
    token.k = block.k[t], token.q = block.q[t], token.v = block.v[t];
  }
}

void recurrent_head(const GdnHead& head) {
  if (head.tokens == 1) {
    const Token token = token_of(head, 0);
    for (std::int64_t column = 0; column < kDim; column += 16 * kDecodeVectors) decode_columns(token, column, head.state, head.next_state, head.out);
    return;
  }
  alignas(64) TokenBlock block;
  for (std::int64_t first = 0; first < head.tokens; first += kTokens) {
    gather_tokens(head, first, block);
    for (std::int64_t column = 0; column < kDim; column += kStrip)
      recurrent_strip(block, column, head.state, head.out + first * head.out_stride, head.out_stride);
  }
}

// log(1 + x) for 0 <= x <= 1: 2 atanh(s), s = x / (2 + x) <= 1/3; eight terms leave a relative error below 1e-8.
CROSSOVER_INLINE F16 log_1_plus(F16 x) {
  const F16 s = x / (broadcast(2.0f) + x), square = s * s;
  F16 series = broadcast(1.0f / 15);
  for (const float term : {1.0f / 13, 1.0f / 11, 1.0f / 9, 1.0f / 7, 1.0f / 5, 1.0f / 3, 1.0f}) series = fma(series, square, broadcast(term));
  return broadcast(2.0f) * s * series;
}

void gates(const float* a, std::int64_t a_stride, const float* b, std::int64_t b_stride, float ssm_a, float dt_bias, std::int64_t tokens, float* g,
           float* beta) {
  for (std::int64_t first = 0; first < tokens; first += 16) {
    const std::int64_t count = tokens - first < 16 ? tokens - first : 16;
    float lanes_a[16] = {}, lanes_b[16] = {};
    for (std::int64_t t = 0; t < count; ++t) lanes_a[t] = a[(first + t) * a_stride], lanes_b[t] = b[(first + t) * b_stride];
    const F16 x = load(lanes_a) + broadcast(dt_bias);
    store(lanes_a, broadcast(ssm_a) * (max(x, zero()) + log_1_plus(exp(zero() - abs(x)))));
    store(lanes_b, sigmoid(load(lanes_b)));
    for (std::int64_t t = 0; t < count; ++t) g[first + t] = lanes_a[t], beta[first + t] = lanes_b[t];
  }
}

#define CROSSOVER_TEXT(name) #name
#define CROSSOVER_PATH(isa, path) CROSSOVER_TEXT(isa) path

template <class Products>
constexpr GdnChunks chunks_of(const char* path, std::int64_t from_tokens) {
  return {path, chunk_keys<Products>, chunk_head<Products>, kChunkKeysBytes<Products>, kChunkScratchBytes<Products>, kRows, false, from_tokens};
}

constexpr GdnChunks kF32 = chunks_of<F32Products>(CROSSOVER_PATH(CROSSOVER_ISA, "-chunked-f32"), 64);
#if defined(__AVX512BF16__)
constexpr GdnChunks kFastest = chunks_of<Bf16Products>(CROSSOVER_PATH(CROSSOVER_ISA, "-chunked-bf16"), 9);
#else
constexpr GdnChunks kFastest = kF32;
#endif

}  // namespace

extern const GdnMicro gdn;
const GdnMicro gdn = {CROSSOVER_PATH(CROSSOVER_ISA, "-recurrent"), recurrent_head, gates, kFastest, kF32};

}  // namespace crossover::cpu::CROSSOVER_ISA
