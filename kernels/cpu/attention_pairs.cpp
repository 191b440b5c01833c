// Attention on bf16 operands: keys and values of any cache type are rounded to bf16 once for all query heads of their KV head.
#include <limits>

#include "kernels/cpu/attention_parts.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/worker_scratch.h"

namespace crossover::cpu {
namespace {

using Shape = AttentionShape;

constexpr std::int64_t kTaskRows = 512;  // query rows that share one conversion of a block
constexpr std::int64_t kNarrowKeys = 32;  // converted at once when rows are few: 16 KiB, so they are still in L1 when used

// Query rows of some tokens of one KV head with what streaming softmax carries along.
struct Queries {
  std::uint16_t* q;    // [rows, dim]
  float* accumulator;  // [rows, columns]
  float* row_max;      // [rows]
  float* row_sum;      // [rows]
};

std::int64_t queries_floats(const Shape& s, std::int64_t rows) { return rows * (s.dim / 2 + s.columns + 2); }

Queries lay_out(const Shape& s, std::int64_t rows, float* memory) {
  float* q = memory + rows * s.columns;
  float* sums = q + rows * s.dim / 2;
  return {reinterpret_cast<std::uint16_t*>(q), memory, sums, sums + rows};
}

void begin(const Context& context, const Attention& a, const Shape& s, std::int64_t kv_head, std::int64_t first_row, std::int64_t rows,
           const Queries& to) {
  for (std::int64_t r = 0; r < rows; ++r) {
    const float* q = query_row(context, a, s.row(kv_head, first_row + r), to.accumulator + r * s.columns);
    context.micro->attention_pairs->pack_query(q, a.scale, s.dim, to.q + r * s.dim);
  }
  std::fill_n(to.accumulator, rows * s.columns, 0.0f);
  std::fill_n(to.row_max, rows, -std::numeric_limits<float>::infinity());
  std::fill_n(to.row_sum, rows, 0.0f);
}

// ---- many rows: tasks are (KV head, run of tokens); each walks over all keys that its last token sees ----

struct Block {
  std::uint16_t *rows, *keys, *values;  // converted, packed, packed
  float* scores;
};

std::int64_t block_floats(const Shape& s) { return kPairBlockKeys * (s.dim + s.columns / 2) + kPairTileRows * (kPairBlockKeys + kAttentionPanel); }

Block block_at(const Shape& s, float* memory) {
  float* keys = memory + kPairBlockKeys * s.dim / 2;
  float* values = keys + kPairBlockKeys * s.dim / 2;
  return {reinterpret_cast<std::uint16_t*>(memory), reinterpret_cast<std::uint16_t*>(keys), reinterpret_cast<std::uint16_t*>(values),
          values + kPairBlockKeys * s.columns / 2};
}

void attend_run(const Context& context, const Attention& a, const Shape& s, std::int64_t kv_head, std::int64_t first_token, std::int64_t tokens,
                float* memory, const Rows& out) {
  const AttentionPairsMicro& micro = *context.micro->attention_pairs;
  const std::int64_t rows = tokens * s.group, first_row = first_token * s.group, keys = a.past + first_token + tokens;
  const Queries all = lay_out(s, rows, memory);
  const Block block = block_at(s, memory + round_up(queries_floats(s, rows), 16));
  begin(context, a, s, kv_head, first_row, rows, all);
  for (std::int64_t first = 0; first < keys; first += kPairBlockKeys) {
    const std::int64_t count = std::min(kPairBlockKeys, keys - first);
    const Bf16Rows k = narrow(context, a.keys.rows, s.dim, kv_head, first, count, block.rows);
    micro.pack_keys(k.data, k.stride, count, s.dim, block.keys);
    const Bf16Rows v = narrow(context, a.values.rows, s.dim, kv_head, first, count, block.rows);
    micro.pack_values(v.data, v.stride, count, s.dim, block.values);
    for (std::int64_t r = 0; r < rows; r += kPairTileRows) {
      const std::int64_t n = std::min(kPairTileRows, rows - r);
      std::int64_t visible[kPairTileRows];
      for (std::int64_t i = 0; i < n; ++i) visible[i] = a.past + first_token + (r + i) / s.group + 1 - first;
      micro.tile(all.q + r * s.dim, s.dim, n, s.dim, block.keys, block.values, count, visible, all.row_max + r, all.row_sum + r,
                 all.accumulator + r * s.columns, s.columns, block.scores);
    }
  }
  for (std::int64_t r = 0; r < rows; ++r) finish_row(context, a, all.accumulator + r * s.columns, all.row_sum[r], s.row(kv_head, first_row + r), out);
}

void attend_many(Context& context, const Attention& a, const Shape& s, const Rows& out) {
  const std::int64_t run = std::max<std::int64_t>(1, kTaskRows / s.group), runs = (s.tokens + run - 1) / run;
  const WorkerScratch scratch(context, "attention", round_up(queries_floats(s, run * s.group), 16) + block_floats(s));
  context.pool.parallel_for(runs * s.kv_heads, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t task = begin; task < end; ++task) {  // the longest runs first: they end together
      const std::int64_t first = (runs - 1 - task / s.kv_heads) * run;
      attend_run(context, a, s, task % s.kv_heads, first, std::min(run, s.tokens - first), scratch.mine(), out);
    }
  });
}

// ---- few rows: tasks are splits of the keys, over all KV heads, so that memory is read in order; the splits of a row are joined in order ----

struct Split {
  std::int64_t first, count;  // keys
  float* parts;               // [kv_heads, part_floats]
  std::int64_t part_floats;
};

// Calls body(kv_head, first key in the split, keys, their rows) in the order of memory.
template <class Body>
void for_narrow(const Context& context, const Tensor& cache, const Shape& s, const Split& split, std::uint16_t* converted, Body body) {
  for (std::int64_t n = 0; n < split.count; n += kNarrowKeys) {
    const std::int64_t keys = std::min(kNarrowKeys, split.count - n);
    for (std::int64_t kv_head = 0; kv_head < s.kv_heads; ++kv_head)
      body(kv_head, n, keys, narrow(context, cache, s.dim, kv_head, split.first + n, keys, converted));
  }
}

void attend_split(const Context& context, const Attention& a, const Shape& s, const Split& split, float* scratch) {
  const AttentionPairsMicro& micro = *context.micro->attention_pairs;
  const std::int64_t rows = s.rows(), stride = kSplitKeys + kAttentionPanel;
  auto* converted = reinterpret_cast<std::uint16_t*>(scratch);
  const auto scores = [&](std::int64_t kv_head) { return scratch + kNarrowKeys * s.dim / 2 + kv_head * rows * stride; };
  const auto part = [&](std::int64_t kv_head) { return lay_out(s, rows, split.parts + kv_head * split.part_floats); };
  for (std::int64_t kv_head = 0; kv_head < s.kv_heads; ++kv_head) begin(context, a, s, kv_head, 0, rows, part(kv_head));
  for_narrow(context, a.keys.rows, s, split, converted, [&](std::int64_t kv_head, std::int64_t n, std::int64_t keys, const Bf16Rows& k) {
    micro.score(part(kv_head).q, s.dim, rows, k.data, k.stride, keys, s.dim, scores(kv_head) + n, stride);
  });
  std::int64_t visible[kFewRows];
  for (std::int64_t r = 0; r < rows; ++r) visible[r] = a.past + r / s.group + 1 - split.first;
  for (std::int64_t kv_head = 0; kv_head < s.kv_heads; ++kv_head)
    micro.weigh(scores(kv_head), stride, rows, split.count, visible, part(kv_head).row_max, part(kv_head).row_sum);
  for_narrow(context, a.values.rows, s, split, converted, [&](std::int64_t kv_head, std::int64_t n, std::int64_t keys, const Bf16Rows& v) {
    micro.accumulate(scores(kv_head), stride, n, rows, v.data, v.stride, keys, s.dim, part(kv_head).accumulator, s.columns);
  });
}

void attend_few(Context& context, const Attention& a, const Shape& s, const Rows& out) {
  const std::int64_t keys = a.past + s.tokens, each = split_keys(keys), splits = (keys + each - 1) / each;
  const std::int64_t part_floats = round_up(queries_floats(s, s.rows()), 16), split_floats = s.kv_heads * part_floats;
  float* parts = context.workspace.floats("attention.parts", static_cast<std::size_t>(splits * split_floats));
  const WorkerScratch scratch(context, "attention", kNarrowKeys * s.dim / 2 + s.kv_heads * s.rows() * (kSplitKeys + kAttentionPanel));
  context.pool.parallel_for(splits, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i)
      attend_split(context, a, s, {i * each, std::min(each, keys - i * each), parts + i * split_floats, part_floats}, scratch.mine());
  });
  join_splits(context, a, s, split_floats, splits, out, [&](std::int64_t kv_head, std::int64_t r) -> SplitRow {
    const Queries first = lay_out(s, s.rows(), parts + kv_head * part_floats);
    return {first.accumulator + r * s.columns, first.row_max + r, first.row_sum + r};
  });
}

}  // namespace

void attend_pairs(Context& context, const Attention& a, const AttentionShape& s, const Rows& out) {
  if (s.rows() <= kFewRows) attend_few(context, a, s, out);
  else attend_many(context, a, s, out);
}

}  // namespace crossover::cpu
