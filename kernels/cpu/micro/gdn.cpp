// Gated delta rule of one value head, state S [128 (k), 128 (v)]: S <- a S; d = b (v - S^T k); S <- S + k d^T; o = S^T q.
#include "kernels/cpu/micro.h"
#include "kernels/cpu/micro/gdn_bf16.h"
#include "kernels/cpu/micro/gdn_f32.h"

namespace crossover::cpu::CROSSOVER_ISA {
namespace {

constexpr std::int64_t kTokens = 64;  // of a block of the recurrence

constexpr int kStripVectors = 2;
constexpr std::int64_t kStrip = 16 * kStripVectors;  // columns of the state that are swept together: 16 KB

// Up to 64 tokens side by side. In the operands a head's rows lie whole pages apart and would fight for a few sets of the caches.
struct TokenBlock {
  float k[kTokens][kDim], q[kTokens][kDim], v[kTokens][kDim];
  float decay[kTokens];  // e^g
  float beta[kTokens];
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
  block.tokens = head.tokens - first < kTokens ? head.tokens - first : kTokens;
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
  for (std::int64_t first = 0; first < head.tokens; first += kTokens) {
    gather_tokens(head, first, block);
    for (std::int64_t column = 0; column < kDim; column += kStrip)
      recurrent_strip(block, column, head.state, head.out + first * head.out_stride, head.out_stride);
  }
}


#define CROSSOVER_TEXT(name) #name
#define CROSSOVER_PATH(isa, path) CROSSOVER_TEXT(isa) path

template <class Products>
constexpr GdnChunks chunks_of(const char* path) {
  return {path, chunk_keys<Products>, chunk_head<Products>, kChunkKeysBytes<Products>, kChunkScratchBytes<Products>};
}

constexpr GdnChunks kF32 = chunks_of<F32Products>(CROSSOVER_PATH(CROSSOVER_ISA, "-chunked-f32"));
#if defined(__AVX512BF16__)
constexpr GdnChunks kFastest = chunks_of<Bf16Products>(CROSSOVER_PATH(CROSSOVER_ISA, "-chunked-bf16"));
#else
constexpr GdnChunks kFastest = kF32;
#endif

}  // namespace

extern const GdnMicro gdn;
const GdnMicro gdn = {CROSSOVER_PATH(CROSSOVER_ISA, "-recurrent"), recurrent_head, kFastest, kF32};

}  // namespace crossover::cpu::CROSSOVER_ISA
