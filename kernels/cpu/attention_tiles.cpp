// Attention on tiles. Many rows: keys and values of any cache type are packed to bf16 tiles once for all query rows of their KV head, a chunk
// of the cache at a time, by all threads; then runs of tokens walk over the packed blocks that they see.
#include <algorithm>
#include <limits>

#include "kernels/cpu/attention_parts.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/worker_scratch.h"

namespace crossover::cpu {
namespace {

using Shape = AttentionShape;

constexpr std::int64_t kChunkKeys = 8192;  // packed at once: 8 MiB for a KV head of 256
constexpr std::int64_t kRunRows = 512;     // query rows that pass over a block: with it and their sums 1.3 MiB of L2
constexpr std::int64_t kShortRunRows = 128, kShortKeys = 1024;  // so few keys stay in L2 from run to run: what goes to it besides should be little
constexpr float kLn2 = 0.69314718f;
constexpr std::int64_t kStateFloats = 32;  // of a row between chunks: parts of the weights' sum, maximum

// Packed blocks of a chunk, keys before values: [kv_heads][blocks][2][kTileBlockKeys * dim].
struct Chunk {
  std::int64_t first, count;  // keys
  std::int64_t blocks, block_values;
  std::uint16_t* packed;
  std::uint16_t* keys(std::int64_t kv_head, std::int64_t block) const { return packed + (kv_head * blocks + block) * 2 * block_values; }
  std::uint16_t* values(std::int64_t kv_head, std::int64_t block) const { return keys(kv_head, block) + block_values; }
};

void pack_unit(const Context& context, const Attention& a, const Shape& s, const Chunk& chunk, std::int64_t kv_head, std::int64_t unit, float* scratch) {
  constexpr std::int64_t kUnits = kTileBlockKeys / kTileUnitKeys;
  const AttentionTilesMicro& micro = *context.micro->attention_tiles;
  auto* converted = reinterpret_cast<std::uint16_t*>(scratch);
  const std::int64_t first = chunk.first + unit * kTileUnitKeys, count = std::min(kTileUnitKeys, chunk.first + chunk.count - first);
  const Bf16Rows k = narrow(context, a.keys.rows, s.dim, kv_head, first, count, converted);
  micro.pack_keys(k.data, k.stride, count, s.dim, unit % kUnits, chunk.keys(kv_head, unit / kUnits));
  const Bf16Rows v = narrow(context, a.values.rows, s.dim, kv_head, first, count, converted);
  micro.pack_values(v.data, v.stride, count, s.dim, unit % kUnits, chunk.values(kv_head, unit / kUnits));
}

// Query rows of some tokens of one KV head in the memory of a worker.
struct Run {
  std::int64_t kv_head, first_token, tokens;
  std::int64_t rows, padded;  // padded to whole tiles by rows that see nothing
  std::uint16_t* q;
  std::int64_t* visible;
  float *row_max, *accumulator;
  std::byte* scratch;
};

std::int64_t run_floats(const Context& context, const Shape& s, std::int64_t padded) {
  return padded * (s.dim + kTileAccumulatorPad + (s.dim + kTileQueryPad) / 2 + 3) + context.micro->attention_tiles->scratch_bytes() / 4;
}

Run lay_out(const Context& context, const Shape& s, std::int64_t kv_head, std::int64_t first_token, std::int64_t tokens, float* memory) {
  Run run{};
  run.kv_head = kv_head, run.first_token = first_token, run.tokens = tokens;
  run.rows = tokens * s.group, run.padded = round_up(run.rows, kTileRows);
  run.scratch = reinterpret_cast<std::byte*>(memory), memory += context.micro->attention_tiles->scratch_bytes() / 4;
  run.accumulator = memory, memory += run.padded * (s.dim + kTileAccumulatorPad);
  run.q = reinterpret_cast<std::uint16_t*>(memory), memory += run.padded * (s.dim + kTileQueryPad) / 2;
  run.visible = reinterpret_cast<std::int64_t*>(memory), memory += 2 * run.padded;
  run.row_max = memory;
  return run;
}

// What a row carries from chunk to chunk: its accumulators lie in `out`, the rest in `state` [rows of out, kStateFloats].
void begin(const Context& context, const Attention& a, const Shape& s, const Run& run, bool first_chunk, const float* state, const Rows& out) {
  const std::int64_t width = s.dim + kTileAccumulatorPad;
  for (std::int64_t r = 0; r < run.padded; ++r) {
    float* accumulator = run.accumulator + r * width;
    std::uint16_t* q = run.q + r * (s.dim + kTileQueryPad);
    run.row_max[r] = -std::numeric_limits<float>::infinity();
    if (r >= run.rows) {
      std::fill_n(q, s.dim, std::uint16_t{0}), std::fill_n(accumulator + s.dim, kTileAccumulatorPad, 0.0f);
      continue;
    }
    const std::int64_t row = s.row(run.kv_head, run.first_token * s.group + r);
    context.micro->attention_tiles->pack_query(query_row(context, a, row, accumulator), a.scale, s.dim, q);
    if (first_chunk) {
      std::fill_n(accumulator + s.dim, kTileAccumulatorPad, 0.0f);
      continue;
    }
    std::copy_n(out.row(row), s.dim, accumulator), std::copy_n(state + row * kStateFloats, kTileAccumulatorPad, accumulator + s.dim);
    run.row_max[r] = state[row * kStateFloats + kTileAccumulatorPad];
  }
}

void end(const Context& context, const Attention& a, const Shape& s, const Run& run, bool last_chunk, float* state, const Rows& out) {
  for (std::int64_t r = 0; r < run.rows; ++r) {
    const float* accumulator = run.accumulator + r * (s.dim + kTileAccumulatorPad);
    const std::int64_t row = s.row(run.kv_head, run.first_token * s.group + r);
    if (last_chunk) {
      context.micro->attention_tiles->finish(accumulator, s.dim, out.row(row));
      turn_back_and_gate(context, a, row, out);
      continue;
    }
    std::copy_n(accumulator, s.dim, out.row(row)), std::copy_n(accumulator + s.dim, kTileAccumulatorPad, state + row * kStateFloats);
    state[row * kStateFloats + kTileAccumulatorPad] = run.row_max[r];
  }
}

void attend_run(const Context& context, const Attention& a, const Shape& s, const Chunk& chunk, const Run& run, float* state, const Rows& out) {
  const std::int64_t keys = a.past + run.first_token + run.tokens;
  if (keys <= chunk.first) return;
  begin(context, a, s, run, chunk.first == 0, state, out);
  for (std::int64_t block = 0; block < chunk.blocks; ++block) {
    const std::int64_t first = chunk.first + block * kTileBlockKeys, count = std::min(kTileBlockKeys, chunk.first + chunk.count - first);
    if (keys <= first) break;
    for (std::int64_t t = 0; t < run.tokens; ++t) std::fill_n(run.visible + t * s.group, s.group, a.past + run.first_token + t + 1 - first);
    std::fill(run.visible + run.rows, run.visible + run.padded, 0);
    context.micro->attention_tiles->block({run.padded, s.dim, run.q, run.visible, run.row_max, run.accumulator, first == 0}, chunk.keys(run.kv_head, block),
                                          chunk.values(run.kv_head, block), count, run.scratch);
  }
  end(context, a, s, run, keys <= chunk.first + chunk.count, state, out);
}

// Tokens of a run: shorter where threads would otherwise wait for the last. A row's bits do not depend on it.
std::int64_t run_tokens(const Shape& s, std::int64_t keys, int threads) {
  std::int64_t rows = keys <= kShortKeys ? kShortRunRows : kRunRows;
  while (rows > kShortRunRows && s.rows() * s.kv_heads < 4 * rows * threads) rows /= 2;
  return std::max<std::int64_t>(1, rows / s.group);
}

void attend_many(Context& context, const Attention& a, const Shape& s, const Rows& out) {
  const std::int64_t keys = a.past + s.tokens, chunk_keys = std::min(kChunkKeys, round_up(keys, kTileBlockKeys));
  const std::int64_t each = run_tokens(s, keys, context.pool.threads()), runs = (s.tokens + each - 1) / each;
  Chunk chunk{0, 0, chunk_keys / kTileBlockKeys, kTileBlockKeys * s.dim, nullptr};
  chunk.packed = reinterpret_cast<std::uint16_t*>(
      context.workspace.bytes("attention.packed", static_cast<std::size_t>(s.kv_heads * chunk.blocks * 2 * chunk.block_values) * sizeof(std::uint16_t)));
  float* state = keys > chunk_keys ? context.workspace.floats("attention.state", static_cast<std::size_t>(out.rows * kStateFloats)) : nullptr;
  const WorkerScratch scratch(context, "attention", std::max(run_floats(context, s, round_up(each * s.group, kTileRows)), kTileUnitKeys * s.dim / 2));
  for (; chunk.first < keys; chunk.first += chunk_keys) {
    chunk.count = std::min(chunk_keys, keys - chunk.first);
    context.pool.parallel_for((chunk.count + kTileUnitKeys - 1) / kTileUnitKeys * s.kv_heads, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) pack_unit(context, a, s, chunk, i % s.kv_heads, i / s.kv_heads, scratch.mine());
    });
    context.pool.parallel_for(runs * s.kv_heads, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t task = begin; task < end; ++task) {  // the longest runs first: they end together
        const std::int64_t first = (runs - 1 - task / s.kv_heads) * each;
        attend_run(context, a, s, chunk, lay_out(context, s, task % s.kv_heads, first, std::min(each, s.tokens - first), scratch.mine()), state, out);
      }
    });
  }
}

// ---- few rows: tasks are splits of the keys, over all KV heads; the splits of a row are joined in order ----

constexpr std::int64_t kNarrowKeys = 64;  // converted at once: 32 KiB of a head of 256, so they are still near when used
constexpr std::int64_t kFewStride = kSplitKeys + kNarrowKeys;

// What a split of the keys leaves of the query rows of one KV head.
struct Part {
  float *accumulator, *row_max, *row_sum;  // [padded, dim], [rows], [rows]
};

std::int64_t padded_rows(const Shape& s) { return round_up(s.rows(), 16); }
std::int64_t part_floats(const Shape& s) { return padded_rows(s) * s.dim + round_up(2 * s.rows(), 16); }

Part part_at(const Shape& s, float* memory) {
  float* sums = memory + padded_rows(s) * s.dim;
  return {memory, sums, sums + s.rows()};
}

struct FewScratch {
  std::uint16_t* rows;     // [kNarrowKeys, dim]
  std::uint16_t* weights;  // [kv_heads, padded, kFewStride]
  float* scores;           // [kv_heads, rows, kFewStride]
};

std::int64_t few_floats(const Shape& s) { return kNarrowKeys * s.dim / 2 + s.kv_heads * (padded_rows(s) / 2 + s.rows()) * kFewStride; }

FewScratch few_scratch(const Shape& s, float* memory) {
  float *weights = memory + kNarrowKeys * s.dim / 2, *scores = weights + s.kv_heads * padded_rows(s) / 2 * kFewStride;
  return {reinterpret_cast<std::uint16_t*>(memory), reinterpret_cast<std::uint16_t*>(weights), scores};
}

// The query rows of a KV head, packed as keys are: [dim * 32].
void pack_queries(const Context& context, const Attention& a, const Shape& s, std::int64_t kv_head, float* scratch, std::uint16_t* to) {
  auto* rows = reinterpret_cast<std::uint16_t*>(scratch + s.dim);
  for (std::int64_t r = 0; r < s.rows(); ++r)
    context.micro->attention_tiles->pack_query(query_row(context, a, s.row(kv_head, r), scratch), a.scale, s.dim, rows + r * s.dim);
  context.micro->attention_tiles->pack_keys(rows, s.dim, s.rows(), s.dim, 0, to);
}

// Keys first .. first + count, and what they leave for each KV head: [kv_heads, part_floats].
struct Split {
  std::int64_t first, count;
  float* parts;
};

// Calls body(kv_head, first key in the split, keys, their rows) in the order of memory. As many rows can be read as the next multiple of 16.
template <class Body>
void for_narrow(const Context& context, const Tensor& cache, const Shape& s, const Split& split, std::uint16_t* converted, Body body) {
  for (std::int64_t n = 0; n < split.count; n += kNarrowKeys) {
    const std::int64_t keys = std::min(kNarrowKeys, split.count - n);
    for (std::int64_t kv_head = 0; kv_head < s.kv_heads; ++kv_head) {
      Bf16Rows rows = narrow(context, cache, s.dim, kv_head, split.first + n, keys, converted);
      if (rows.data != converted && keys % 16 != 0) {
        for (std::int64_t t = 0; t < keys; ++t) std::copy_n(rows.data + t * rows.stride, s.dim, converted + t * s.dim);
        rows = {converted, s.dim};
      }
      body(kv_head, n, keys, rows);
    }
  }
}

void attend_split(const Context& context, const Attention& a, const Shape& s, const Split& split, const std::uint16_t* queries, const FewScratch& scratch) {
  const AttentionTilesMicro& micro = *context.micro->attention_tiles;
  const std::int64_t rows = s.rows();
  const auto part = [&](std::int64_t kv_head) { return part_at(s, split.parts + kv_head * part_floats(s)); };
  const auto scores = [&](std::int64_t kv_head) { return scratch.scores + kv_head * rows * kFewStride; };
  const auto weights = [&](std::int64_t kv_head) { return scratch.weights + kv_head * padded_rows(s) * kFewStride; };
  for_narrow(context, a.keys.rows, s, split, scratch.rows, [&](std::int64_t kv_head, std::int64_t n, std::int64_t keys, const Bf16Rows& k) {
    micro.few_scores(queries + kv_head * kTileUnitKeys * s.dim, rows, k.data, k.stride, keys, s.dim, scores(kv_head) + n, kFewStride);
  });
  std::int64_t visible[kFewRows];
  for (std::int64_t r = 0; r < rows; ++r) visible[r] = a.past + r / s.group + 1 - split.first;
  for (std::int64_t kv_head = 0; kv_head < s.kv_heads; ++kv_head) {
    const Part to = part(kv_head);
    std::fill_n(to.accumulator, padded_rows(s) * s.dim, 0.0f);
    std::fill_n(to.row_max, rows, -std::numeric_limits<float>::infinity());
    micro.few_weights(scores(kv_head), kFewStride, rows, split.count, visible, weights(kv_head), kFewStride, to.row_max, to.row_sum);
    for (std::int64_t r = 0; r < rows; ++r) to.row_max[r] *= kLn2;  // to the base that the parts are joined by
  }
  for_narrow(context, a.values.rows, s, split, scratch.rows, [&](std::int64_t kv_head, std::int64_t n, std::int64_t keys, const Bf16Rows& v) {
    micro.few_values(weights(kv_head) + n, kFewStride, rows, v.data, v.stride, keys, s.dim, part(kv_head).accumulator, s.dim);
  });
}

void attend_few(Context& context, const Attention& a, const Shape& s, const Rows& out) {
  const std::int64_t keys = a.past + s.tokens, each = split_keys(keys), splits = (keys + each - 1) / each;
  const std::int64_t floats = part_floats(s), split_floats = s.kv_heads * floats, query_values = kTileUnitKeys * s.dim;
  float* parts = context.workspace.floats("attention.parts", static_cast<std::size_t>(splits * split_floats));
  auto* queries = reinterpret_cast<std::uint16_t*>(
      context.workspace.bytes("attention.queries", static_cast<std::size_t>(s.kv_heads * query_values) * sizeof(std::uint16_t)));
  const WorkerScratch scratch(context, "attention", std::max(few_floats(s), s.dim + s.rows() * s.dim / 2));
  for (std::int64_t kv_head = 0; kv_head < s.kv_heads; ++kv_head) pack_queries(context, a, s, kv_head, scratch.mine(), queries + kv_head * query_values);
  context.pool.parallel_for(splits, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i)
      attend_split(context, a, s, {i * each, std::min(each, keys - i * each), parts + i * split_floats}, queries, few_scratch(s, scratch.mine()));
  });
  join_splits(context, a, s, split_floats, splits, out, [&](std::int64_t kv_head, std::int64_t r) -> SplitRow {
    const Part first = part_at(s, parts + kv_head * floats);
    return {first.accumulator + r * s.dim, first.row_max + r, first.row_sum + r};
  });
}

}  // namespace

void attend_tiles(Context& context, const Attention& a, const AttentionShape& s, const Rows& out) {
  if (s.rows() <= kFewRows) attend_few(context, a, s, out);
  else attend_many(context, a, s, out);
}

}  // namespace crossover::cpu
