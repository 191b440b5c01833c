// Attention of many tokens on tiles: keys and values of any cache type are packed to bf16 tiles once for all query rows of their KV head,
// a chunk of the cache at a time, by all threads; then runs of tokens walk over the packed blocks that they see.
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
constexpr std::int64_t kStateFloats = 32;  // of a row between chunks: parts of the weights' sum, maximum

std::int64_t round_up(std::int64_t n, std::int64_t to) { return (n + to - 1) / to * to; }

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
    const float *accumulator = run.accumulator + r * (s.dim + kTileAccumulatorPad), *parts = accumulator + s.dim;
    const std::int64_t row = s.row(run.kv_head, run.first_token * s.group + r);
    if (last_chunk) {
      float sum = 0;
      for (std::int64_t i = 0; i < kTileAccumulatorPad; ++i) sum += parts[i];
      finish_row(context, a, accumulator, sum, row, out);
      continue;
    }
    std::copy_n(accumulator, s.dim, out.row(row)), std::copy_n(parts, kTileAccumulatorPad, state + row * kStateFloats);
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

}  // namespace

void attend_tiles(Context& context, const Attention& a, const AttentionShape& s, const Rows& out) {
  const std::int64_t keys = a.past + s.tokens, chunk_keys = std::min(kChunkKeys, round_up(keys, kTileBlockKeys));
  const std::int64_t each = std::max<std::int64_t>(1, (keys <= kShortKeys ? kShortRunRows : kRunRows) / s.group), runs = (s.tokens + each - 1) / each;
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

}  // namespace crossover::cpu
