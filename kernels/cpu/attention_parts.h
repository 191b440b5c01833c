// What the two ways of attention share: which rows belong together, when keys are split, how results leave.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/cpu/micro.h"
#include "kernels/ops.h"

namespace crossover::cpu {

inline constexpr std::int64_t kFewRows = 32;     // up to this many query rows of a KV head its keys are split among tasks
inline constexpr std::int64_t kSplitKeys = 512;  // keys of a split: the order of summation depends on the length alone
inline constexpr std::int64_t kRowsAhead = 32;   // of a cache: converting a row takes a tenth of what memory takes to deliver one

struct AttentionShape {
  std::int64_t tokens, heads, kv_heads, group, dim;  // group = query heads of a KV head, dim = head dim
  std::int64_t columns;                              // of an accumulator row: dim rounded up to whole panels
  std::int64_t rows() const { return tokens * group; }  // query rows of a KV head
  // Row of q and out: row r of a KV head counted from its first token's first head of the group.
  std::int64_t row(std::int64_t kv_head, std::int64_t r) const { return r / group * heads + kv_head * group + r % group; }
};

// out = accumulator / sum.
inline void finish_row(const float* accumulator, float sum, std::int64_t dim, float* out) {
  for (std::int64_t i = 0; i < dim; ++i) out[i] = accumulator[i] / sum;
}

// A cache row's columns of one head asked into L2 ahead of their use; beyond the last row nothing is asked.
inline void prefetch_head(const Tensor& cache, const std::byte* column, std::int64_t row, std::int64_t bytes) {
  if (row >= cache.rows()) return;
  const std::byte* from = column + row * cache.row_stride();
  for (std::int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(from + i, 0, 2);
}

void attend_pairs(Context& context, const Attention& a, const AttentionShape& s, const Rows& out);  // instruction sets with attention_pairs

}  // namespace crossover::cpu
