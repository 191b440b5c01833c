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

inline std::int64_t round_up(std::int64_t n, std::int64_t to) { return (n + to - 1) / to * to; }

struct AttentionShape {
  std::int64_t tokens, heads, kv_heads, group, dim;  // group = query heads of a KV head, dim = head dim
  std::int64_t columns;                              // of an accumulator row: dim rounded up to whole panels
  std::int64_t rows() const { return tokens * group; }  // query rows of a KV head
  // Row of q and out: row r of a KV head counted from its first token's first head of the group.
  std::int64_t row(std::int64_t kv_head, std::int64_t r) const { return r / group * heads + kv_head * group + r % group; }
};

// What a split of the keys left of one query row.
struct SplitRow {
  float* accumulator;  // [dim]
  const float *row_max, *row_sum;
};

// Joins the splits of a row in order; those after the first lie part_floats further each. Overwrites the first's accumulator. A split
// that the row sees nothing of has row_max -inf and weighs 0.
void join_row(const Context& context, const Attention& a, const SplitRow& first, std::int64_t part_floats, std::int64_t splits, std::int64_t row,
              const Rows& out);

// Joins the splits of every row, in parallel; row(kv_head, r) is what the first split left of it.
template <class Row>
void join_splits(Context& context, const Attention& a, const AttentionShape& s, std::int64_t part_floats, std::int64_t splits, const Rows& out, Row row) {
  context.pool.parallel_for(s.kv_heads * s.rows(), std::max<std::int64_t>(1, 64 / splits), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t kv_head = i / s.rows(), r = i % s.rows();
      join_row(context, a, row(kv_head, r), part_floats, splits, s.row(kv_head, r), out);
    }
  });
}

// Row `row` of out = accumulator / sum, turned back as the values were rotated, times the gate; and the latter two alone.
void finish_row(const Context& context, const Attention& a, const float* accumulator, float sum, std::int64_t row, const Rows& out);
void turn_back_and_gate(const Context& context, const Attention& a, std::int64_t row, const Rows& out);

// The query row itself, or in `turned` [dim] as the keys are rotated.
const float* query_row(const Context& context, const Attention& a, std::int64_t row, float* turned);

// A cache row's columns of one head asked into L2 ahead of their use.
inline void prefetch_head(const std::byte* from, std::int64_t bytes) {
  for (std::int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(from + i, 0, 2);
}

// Keys of a split of so many: splits so many that threads share them evenly, so long that their overhead is small. By the number of keys alone.
inline std::int64_t split_keys(std::int64_t keys) { return std::clamp<std::int64_t>((keys / 32 + 31) / 32 * 32, 128, kSplitKeys); }

struct Bf16Rows {
  const std::uint16_t* data;
  std::int64_t stride;
};

// Rows first .. first + count of a KV head: in place when the cache is bf16, else converted into `to` [count, dim].
Bf16Rows narrow(const Context& context, const Tensor& cache, std::int64_t dim, std::int64_t kv_head, std::int64_t first, std::int64_t count,
                std::uint16_t* to);

void attend_pairs(Context& context, const Attention& a, const AttentionShape& s, const Rows& out);  // instruction sets with attention_pairs
void attend_tiles(Context& context, const Attention& a, const AttentionShape& s, const Rows& out);  // with attention_tiles, heads of whole tiles

}  // namespace crossover::cpu
