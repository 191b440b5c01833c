// Causal attention over a typed cache, block by block of keys. All query heads of a KV head share a converted block.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <stdexcept>
#include <string>

#include "kernels/cpu/attention_parts.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/micro.h"
#include "kernels/cpu/worker_scratch.h"

namespace crossover::cpu {
namespace {

using Shape = AttentionShape;

constexpr std::int64_t kBlockKeys = 128;     // converted at once
constexpr std::int64_t kTileRows = 32;       // query rows whose scores against a block stay in L1
constexpr std::int64_t kTaskRows = 256;      // query rows that share one conversion of a block

Shape shape_of(const Attention& a, const Rows& out) {
  const std::int64_t dim = out.dim;
  if (dim % 16 != 0)
    throw std::invalid_argument("attention on the cpu backend needs a head dimension that is a multiple of 16, found " + std::to_string(dim) +
                                "; use the reference backend");
  return {out.rows / a.heads, a.heads, a.kv_heads, a.heads / a.kv_heads, dim, (dim + kAttentionPanel - 1) / kAttentionPanel * kAttentionPanel};
}

struct Block {
  const float* data;
  std::int64_t stride;
};

// Rows first .. first + count of a KV head as f32: in place when the cache is f32, else converted into `to`.
Block block_of(const Context& context, const Tensor& cache, std::int64_t dim, std::int64_t kv_head, std::int64_t first, std::int64_t count,
               float* to) {
  if (cache.dtype == DType::kF32) return {cache.f32() + first * cache.cols() + kv_head * dim, cache.cols()};
  const auto dequantize = context.micro->formats->dequantize[static_cast<std::size_t>(cache.dtype)];
  const std::int64_t stride = cache.row_stride(), bytes = row_bytes(cache.dtype, dim);
  const std::byte* column = cache.data + row_bytes(cache.dtype, kv_head * dim);
  for (std::int64_t t = first; t < first + count; ++t) {
    if (t + kRowsAhead < cache.rows()) prefetch_head(column + (t + kRowsAhead) * stride, bytes);
    dequantize(column + t * stride, to + (t - first) * dim, dim);
  }
  return {to, dim};
}

// Query rows (token, head of the group) of some tokens of one KV head, scaled, with what streaming softmax carries along.
struct Queries {
  float* q;            // [rows, dim]
  float* accumulator;  // [rows, columns]
  float* row_max;      // [rows]
  float* row_sum;      // [rows]
};

std::int64_t queries_floats(const Shape& s, std::int64_t rows) { return rows * (s.dim + s.columns + 2); }

Queries lay_out(const Shape& s, std::int64_t rows, float* memory) {
  return {memory, memory + rows * s.dim, memory + rows * (s.dim + s.columns), memory + rows * (s.dim + s.columns + 1)};
}

void begin(const Context& context, const Attention& a, const Shape& s, std::int64_t kv_head, std::int64_t first_row, std::int64_t rows,
           const Queries& to) {
  for (std::int64_t r = 0; r < rows; ++r) {
    const float* q = query_row(context, a, s.row(kv_head, first_row + r), to.q + r * s.dim);
    for (std::int64_t i = 0; i < s.dim; ++i) to.q[r * s.dim + i] = a.scale * q[i];
  }
  std::fill_n(to.accumulator, rows * s.columns, 0.0f);
  std::fill_n(to.row_max, rows, -std::numeric_limits<float>::infinity());
  std::fill_n(to.row_sum, rows, 0.0f);
}

// ---- many rows: tasks are (KV head, run of tokens); each walks over all keys that its last token sees ----

void attend_run(const Context& context, const Attention& a, const Shape& s, std::int64_t kv_head, std::int64_t first_token, std::int64_t tokens,
                float* memory, const Rows& out) {
  const AttentionMicro& micro = *context.micro->attention;
  const std::int64_t rows = tokens * s.group;
  const Queries all = lay_out(s, rows, memory);
  float* converted = memory + queries_floats(s, rows);
  float* key_panels = converted + kBlockKeys * s.dim;
  float* value_panels = key_panels + kBlockKeys * s.dim;
  float* scores = value_panels + kBlockKeys * s.columns;
  begin(context, a, s, kv_head, first_token * s.group, rows, all);
  const std::int64_t keys = a.past + first_token + tokens;
  for (std::int64_t first = 0; first < keys; first += kBlockKeys) {
    const std::int64_t count = std::min(kBlockKeys, keys - first);
    const Block k = block_of(context, a.keys.rows, s.dim, kv_head, first, count, converted);
    micro.pack_keys(k.data, k.stride, count, s.dim, key_panels);
    const Block v = block_of(context, a.values.rows, s.dim, kv_head, first, count, converted);
    micro.pack_values(v.data, v.stride, count, s.dim, value_panels);
    for (std::int64_t r = 0; r < rows; r += kTileRows) {
      const std::int64_t n = std::min(kTileRows, rows - r);
      std::int64_t visible[kTileRows];
      for (std::int64_t i = 0; i < n; ++i) visible[i] = a.past + first_token + (r + i) / s.group + 1 - first;
      micro.tile(all.q + r * s.dim, s.dim, n, s.dim, key_panels, value_panels, count, visible, all.row_max + r, all.row_sum + r,
                 all.accumulator + r * s.columns, s.columns, scores);
    }
  }
  for (std::int64_t r = 0; r < rows; ++r)
    finish_row(context, a, all.accumulator + r * s.columns, all.row_sum[r], s.row(kv_head, first_token * s.group + r), out);
}

void attend_many(Context& context, const Attention& a, const Shape& s, const Rows& out) {
  const std::int64_t run = std::max<std::int64_t>(1, kTaskRows / s.group), runs = (s.tokens + run - 1) / run;
  const std::int64_t rows = run * s.group;
  const WorkerScratch scratch(context, "attention",
                              queries_floats(s, rows) + kBlockKeys * (2 * s.dim + s.columns) + kTileRows * kBlockKeys);
  context.pool.parallel_for(runs * s.kv_heads, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t task = begin; task < end; ++task) {  // the longest runs first: they end together
      const std::int64_t first = (runs - 1 - task / s.kv_heads) * run;
      attend_run(context, a, s, task % s.kv_heads, first, std::min(run, s.tokens - first), scratch.mine(), out);
    }
  });
}

// ---- few rows: tasks are (KV head, split of the keys); the splits of a row are joined in order ----

void attend_split(const Context& context, const Attention& a, const Shape& s, std::int64_t kv_head, std::int64_t first_key, std::int64_t keys,
                  const Queries& to, float* scratch) {
  const std::int64_t rows = s.tokens * s.group;
  begin(context, a, s, kv_head, 0, rows, to);
  float* scores = scratch + 2 * kBlockKeys * s.dim;
  for (std::int64_t first = first_key; first < first_key + keys; first += kBlockKeys) {
    const std::int64_t count = std::min(kBlockKeys, first_key + keys - first);
    const Block k = block_of(context, a.keys.rows, s.dim, kv_head, first, count, scratch);
    const Block v = block_of(context, a.values.rows, s.dim, kv_head, first, count, scratch + kBlockKeys * s.dim);
    std::int64_t visible[kFewRows];
    for (std::int64_t r = 0; r < rows; ++r) visible[r] = a.past + r / s.group + 1 - first;
    context.micro->attention->few_rows(to.q, s.dim, rows, s.dim, k.data, k.stride, v.data, v.stride, count, visible, to.row_max, to.row_sum,
                                       to.accumulator, s.columns, scores);
  }
}

void attend_few(Context& context, const Attention& a, const Shape& s, const Rows& out) {
  const std::int64_t rows = s.tokens * s.group, keys = a.past + s.tokens, splits = (keys + kSplitKeys - 1) / kSplitKeys;
  const std::int64_t part_floats = round_up(queries_floats(s, rows), 16);
  float* parts = context.workspace.floats("attention.parts", static_cast<std::size_t>(splits * s.kv_heads * part_floats));
  const WorkerScratch scratch(context, "attention", 2 * kBlockKeys * s.dim + kFewRows * kBlockKeys);
  context.pool.parallel_for(splits * s.kv_heads, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t task = begin; task < end; ++task) {
      const std::int64_t kv_head = task / splits, first = task % splits * kSplitKeys;
      attend_split(context, a, s, kv_head, first, std::min(kSplitKeys, keys - first), lay_out(s, rows, parts + task * part_floats),
                   scratch.mine());
    }
  });
  join_splits(context, a, s, part_floats, splits, out, [&](std::int64_t kv_head, std::int64_t r) -> SplitRow {
    const Queries first = lay_out(s, rows, parts + kv_head * splits * part_floats);
    return {first.accumulator + r * s.columns, first.row_max + r, first.row_sum + r};
  });
}

// An f32 cache asks for f32 arithmetic.
bool in_bf16(const Attention& a) { return a.keys.rows.dtype != DType::kF32 && a.values.rows.dtype != DType::kF32; }

}  // namespace

void attention(Context& context, const Attention& a, Rows out) {
  const Shape s = shape_of(a, out);
  const Micro& micro = *context.micro;
  const bool few = s.rows() <= kFewRows, tiles = micro.attention_tiles && s.dim % kTileUnitKeys == 0 && in_bf16(a);
  const bool pairs = !tiles && micro.attention_pairs && in_bf16(a);
  char path[48];
  std::snprintf(path, sizeof path, "%s-%s-%s", name(micro.isa), tiles || pairs ? "bf16" : "f32", few ? "split" : "tile");
  context.counters.path("attention", path);
  if (tiles) attend_tiles(context, a, s, out);
  else if (pairs) attend_pairs(context, a, s, out);
  else if (few) attend_few(context, a, s, out);
  else attend_many(context, a, s, out);
}

}  // namespace crossover::cpu
