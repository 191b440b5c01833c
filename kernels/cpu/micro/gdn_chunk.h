// The chunked scan, chunks of C = 16 tokens. With G the running sum of g inside the chunk and D_ij = e^(G_i - G_j) for i >= j:
//   (I + strict_lower(diag(b) K K^T o D)) X = diag(b) (V - diag(e^G) K S)    solved in registers, no inverse is formed
//   O = diag(e^G) Q S + (lower(Q K^T) o D) X
//   S <- e^(G_C) S + K^T diag(e^(G_C - G)) X
// Only differences of G are exponentiated, so nothing overflows; G is double because it may reach thousands while a difference
// near zero matters. Columns of S are independent: a strip of 16 of them (8 KB in f32) stays in L1 while all chunks of a block
// of tokens pass over it, and the 16 x 16 results of a chunk never leave the registers. Per token and value head that is
// 3 D^2 + 1.5 C D multiply-adds; longer chunks only add to the second term.
#pragma once

#include "kernels/cpu/micro.h"
#include "kernels/cpu/micro/simd.h"

namespace crossover::cpu::CROSSOVER_ISA {

inline constexpr std::int64_t kDim = kGdnHeadDim;
inline constexpr std::int64_t kRows = 16;  // tokens of a chunk, columns of a strip
inline constexpr std::int64_t kBlockChunks = kGdnBlockTokens / kRows;

#if defined(__AVX512F__)
inline constexpr int kProductRows = 16, kUpdateRows = 8;  // sums held in registers at once
#else
inline constexpr int kProductRows = 4, kUpdateRows = 4;
#endif

// Products is one precision: gdn_f32.h or gdn_bf16.h.
template <class Products>
struct ChunkKeys {  // what the value heads of one key head share
  typename Products::Tokens tokens;
  float kk[kRows][kRows], qk[kRows][kRows];
};

template <class Products>
struct ChunkMasks {  // of one value head
  float solve[kRows][kRows];         // -diag(b) K K^T o D below the diagonal
  typename Products::Square attend;  // Q K^T o D up to the diagonal
  float from_start[kRows], to_end[kRows], beta[kRows];
  float whole;
};

// Tokens past the last one are zero and write nothing.
template <class Products>
void chunk_keys(const GdnHead& head, void* memory) {
  ChunkKeys<Products>* keys = static_cast<ChunkKeys<Products>*>(memory);
  for (std::int64_t first = 0; first < head.tokens; first += kRows, ++keys) {
    const std::int64_t tokens = head.tokens - first < kRows ? head.tokens - first : kRows;
    alignas(64) float k[kRows][kDim], q[kRows][kDim];
    for (std::int64_t t = 0; t < kRows; ++t) {
      for (std::int64_t i = 0; i < kDim; i += 16) {
        store(k[t] + i, t < tokens ? load(head.k + (first + t) * head.k_stride + i) : zero());
        store(q[t] + i, t < tokens ? load(head.q + (first + t) * head.q_stride + i) : zero());
      }
    }
    Products::pack(k, q, keys->tokens);
    typename Products::Strip transposed;
    Products::transpose_keys(keys->tokens, transposed);
    F16 rows[kRows];
    Products::multiply(keys->tokens.k, transposed, rows);
    for (int r = 0; r < kRows; ++r) store(keys->kk[r], rows[r]);
    Products::multiply(keys->tokens.q, transposed, rows);
    for (int r = 0; r < kRows; ++r) store(keys->qk[r], rows[r]);
  }
}

// Running sums of g and what follows from them and beta.
template <class Products>
CROSSOVER_INLINE void chunk_decay(const GdnHead& head, std::int64_t first, double* sum, ChunkMasks<Products>& masks) {
  const std::int64_t tokens = head.tokens - first < kRows ? head.tokens - first : kRows;
  double total = 0;
  for (std::int64_t t = 0; t < kRows; ++t) {
    const float g = t < tokens ? head.g[(first + t) * head.g_stride] : 0.0f;
    total += g > -1e4f ? static_cast<double>(g) : -1e4;  // e^-10000 is 0 already; -inf would give inf - inf below
    sum[t] = total;
    masks.beta[t] = t < tokens ? head.beta[(first + t) * head.beta_stride] : 0.0f;
  }
  for (std::int64_t t = 0; t < kRows; ++t) {
    masks.from_start[t] = static_cast<float>(sum[t]);
    masks.to_end[t] = static_cast<float>(total - sum[t]);
  }
  store(masks.from_start, exp(load(masks.from_start)));
  store(masks.to_end, exp(load(masks.to_end)));
  masks.whole = masks.from_start[kRows - 1];
}

template <class Products>
void chunk_masks(const GdnHead& head, std::int64_t first, const ChunkKeys<Products>& keys, ChunkMasks<Products>& masks) {
  double sum[kRows];
  chunk_decay(head, first, sum, masks);
  alignas(64) float lower[2 * kRows];  // row i of the lower triangle starts at 16 - i - 1
  for (int n = 0; n < 2 * kRows; ++n) lower[n] = n < kRows ? 1.0f : 0.0f;
  for (int i = 0; i < kRows; ++i) {
    float difference[kRows];
    for (int j = 0; j < kRows; ++j) difference[j] = static_cast<float>(sum[i] - sum[j]);
    const F16 d = exp(min(load(difference), zero()));
    Products::set_row(masks.attend, i, load(keys.qk[i]) * d * load(lower + kRows - 1 - i));
    F16 solve = load(keys.kk[i]) * d * broadcast(-masks.beta[i]);
    if (i == 0) solve = zero();
    else solve = solve * load(lower + kRows - i);
    store(masks.solve[i], solve);
  }
}

// One chunk of one strip: v [16, 16] in, out [16, 16].
template <class Products>
CROSSOVER_INLINE void chunk_strip(const ChunkKeys<Products>& keys, const ChunkMasks<Products>& masks, typename Products::Strip& strip,
                                  const float* v, std::int64_t v_stride, float* out, std::int64_t out_stride) {
  F16 x[kRows];
  Products::multiply(keys.tokens.k, strip, x);
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r)
    x[r] = broadcast(masks.beta[r]) * (load(v + r * v_stride) - broadcast(masks.from_start[r]) * x[r]);
#pragma GCC unroll 16
  for (int j = 0; j < kRows - 1; ++j)
#pragma GCC unroll 16
    for (int r = j + 1; r < kRows; ++r) x[r] = fma(broadcast(masks.solve[r][j]), x[j], x[r]);
  typename Products::Writes writes, kept;
  Products::set_writes(writes, x);
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) x[r] = broadcast(masks.to_end[r]) * x[r];
  Products::set_writes(kept, x);

  Products::multiply(keys.tokens.q, strip, x);
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) x[r] = broadcast(masks.from_start[r]) * x[r];
  Products::add_lower(masks.attend, writes, x);
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) store(out + r * out_stride, x[r]);
  Products::update(keys.tokens, kept, broadcast(masks.whole), strip);
}

// The same for a chunk of fewer tokens, whose rows of v and out end early.
template <class Products>
void chunk_strip_tail(const ChunkKeys<Products>& keys, const ChunkMasks<Products>& masks, typename Products::Strip& strip, std::int64_t tokens,
                      const float* v, std::int64_t v_stride, float* out, std::int64_t out_stride) {
  alignas(64) float inputs[kRows][kRows], outputs[kRows][kRows];
  for (std::int64_t t = 0; t < kRows; ++t) store(inputs[t], t < tokens ? load(v + t * v_stride) : zero());
  chunk_strip<Products>(keys, masks, strip, inputs[0], kRows, outputs[0], kRows);
  for (std::int64_t t = 0; t < tokens; ++t) store(out + t * out_stride, load(outputs[t]));
}

// A block of up to kGdnBlockTokens tokens; scratch holds its masks.
template <class Products>
void chunk_head(const GdnHead& head, const void* shared, void* scratch) {
  const ChunkKeys<Products>* keys = static_cast<const ChunkKeys<Products>*>(shared);
  ChunkMasks<Products>* masks = static_cast<ChunkMasks<Products>*>(scratch);
  for (std::int64_t c = 0; c * kRows < head.tokens; ++c) chunk_masks<Products>(head, c * kRows, keys[c], masks[c]);
  for (std::int64_t column = 0; column < kDim; column += kRows) {
    typename Products::Strip strip;
    Products::load_strip(head.state + column, kDim, strip);
    std::int64_t t = 0;
    for (; t + kRows <= head.tokens; t += kRows)
      chunk_strip<Products>(keys[t / kRows], masks[t / kRows], strip, head.v + t * head.v_stride + column, head.v_stride,
                            head.out + t * head.out_stride + column, head.out_stride);
    if (t < head.tokens)
      chunk_strip_tail<Products>(keys[t / kRows], masks[t / kRows], strip, head.tokens - t, head.v + t * head.v_stride + column, head.v_stride,
                                 head.out + t * head.out_stride + column, head.out_stride);
    for (std::int64_t i = 0; i < kDim; ++i) store(head.state + i * kDim + column, load(strip.s[i]));
  }
}

template <class Products>
inline constexpr std::int64_t kChunkKeysBytes = kBlockChunks * static_cast<std::int64_t>(sizeof(ChunkKeys<Products>));
template <class Products>
inline constexpr std::int64_t kChunkScratchBytes = kBlockChunks * static_cast<std::int64_t>(sizeof(ChunkMasks<Products>));

}  // namespace crossover::cpu::CROSSOVER_ISA
