// Attention of the 35B-A3B shape (16 query heads, 2 KV heads of 256). Prefill is bound by arithmetic: 4 flop per query head, feature and
// visible key; at 3.66 GHz one core does at most 117 GFLOP/s in f32 and 233 in pairs of bf16 (Zen 4). Decode reads the cache once: bound by
// bandwidth, or by 128 pair products per key and KV head of 8 query heads (28 GB/s of an f16 cache per core). A rotation is 2048 sums.
#include <algorithm>
#include <array>

#include "bench/micro/operands.h"
#include "kernels/formats/formats.h"

namespace crossover::micro_bench {
namespace {

constexpr std::int64_t kHeads = 16, kKvHeads = 2, kDim = 256;

std::vector<std::byte> cache_of(DType dtype, std::int64_t rows) {
  const std::vector<float> values = random_floats(rows * kKvHeads * kDim);
  std::vector<std::byte> bytes(static_cast<std::size_t>(rows * row_bytes(dtype, kKvHeads * kDim)));
  quantize_fn(dtype)(values.data(), bytes.data(), rows * kKvHeads * kDim);
  return bytes;
}

void attend(benchmark::State& state, std::int64_t tokens, std::int64_t past, DType dtype, int threads, cpu::Isa isa) {
  CpuContext context(threads, isa);
  const std::vector<float> q = random_floats(tokens * kHeads * kDim);
  const std::vector<std::byte> filled = cache_of(dtype, past + tokens);
  const std::size_t bytes = filled.size();
  std::byte* memory = cpu_ops().allocate(2 * bytes);  // as the engine holds it, in huge pages
  std::copy_n(filled.data(), bytes, memory), std::copy_n(filled.data(), bytes, memory + bytes);
  std::vector<float> out(q.size());
  const std::array<std::int64_t, 3> shape{1, past + tokens, kKvHeads * kDim};
  const Attention a{.q = {q.data(), tokens * kHeads, kDim},
                    .keys = Tensor{memory, dtype, shape},
                    .values = Tensor{memory + bytes, dtype, shape},
                    .past = past,
                    .heads = kHeads,
                    .kv_heads = kKvHeads};
  const Rows result(out.data(), tokens * kHeads, kDim);
  for (auto _ : state) op::attention(context, a, result);
  report(state, cost::attention(a, result));
  state.SetLabel(std::string(name(dtype)) + ' ' + cpu::name(isa));
  cpu_ops().release(memory, 2 * bytes);
}

void attention_prefill(benchmark::State& state) {
  attend(state, state.range(0), state.range(1), static_cast<DType>(state.range(2)), 1, static_cast<cpu::Isa>(state.range(3)));
}
void prefill_arguments(benchmark::internal::Benchmark* b) {
  b->ArgNames({"tokens", "past", "type", "isa"})->Unit(benchmark::kMillisecond);
  for (const std::int64_t past : {0, 4096}) {
    for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kQ8_0, DType::kQ4_0})
      b->Args({512, past, static_cast<int>(dtype), static_cast<int>(cpu::best_isa())});
    for (const cpu::Isa isa : cpu::usable_isas())
      if (isa != cpu::best_isa() && (past == 0 || isa != cpu::Isa::kPortable)) b->Args({512, past, static_cast<int>(DType::kF16), static_cast<int>(isa)});
  }
}
BENCHMARK(attention_prefill)->Apply(prefill_arguments);

void attention_decode(benchmark::State& state) {
  attend(state, 1, state.range(0), static_cast<DType>(state.range(1)), static_cast<int>(state.range(2)), static_cast<cpu::Isa>(state.range(3)));
}
void decode_arguments(benchmark::internal::Benchmark* b) {
  b->ArgNames({"past", "type", "threads", "isa"})->Unit(benchmark::kMicrosecond)->UseRealTime();
  for (const std::int64_t past : {512, 4096, 32768})
    for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kQ8_0, DType::kQ4_0, DType::kQ5_1})
      for (const int threads : {1, 2}) b->Args({past, static_cast<int>(dtype), threads, static_cast<int>(cpu::best_isa())});
  for (const cpu::Isa isa : cpu::usable_isas())
    if (isa != cpu::best_isa()) b->Args({4096, static_cast<int>(DType::kF16), 1, static_cast<int>(isa)});
}
BENCHMARK(attention_decode)->Apply(decode_arguments);

// One row of 256 at a time, from and to the first-level cache.
void rotation(benchmark::State& state) {
  const auto how = static_cast<Rotation>(state.range(0));
  const auto isa = static_cast<cpu::Isa>(state.range(1));
  std::vector<float> row = random_floats(kDim);
  for (auto _ : state) {
    cpu::micro(isa).rows->rotate(how, false, row.data(), kDim, row.data());
    benchmark::ClobberMemory();
  }
  const Rows rows(row.data(), 1, kDim);
  report(state, cost::rotate(rows, how));
  state.SetLabel(std::string(name(how)) + ' ' + cpu::name(isa));
}
void rotation_arguments(benchmark::internal::Benchmark* b) {
  b->ArgNames({"rotation", "isa"});
  for (const Rotation how : {Rotation::kHadamard, Rotation::kSigned})
    for (const cpu::Isa isa : cpu::usable_isas()) b->Args({static_cast<int>(how), static_cast<int>(isa)});
}
BENCHMARK(rotation)->Apply(rotation_arguments);

// Norm and RoPE of 512 tokens of 16 query heads; and what writing a cache costs besides, with and without a rotation.
void norm_rope(benchmark::State& state) {
  CpuContext context(1);
  std::vector<float> x = random_floats(512 * kHeads * kDim), weight = random_floats(kDim), angle = random_floats(512 * 64);
  const Rows rows(x.data(), 512 * kHeads, kDim);
  const ConstRows angles(angle.data(), 512, 64);
  for (auto _ : state) op::norm_rope(context, rows, weight.data(), 1e-6f, kHeads, angles);
  report(state, cost::norm_rope(rows, angles));
}
BENCHMARK(norm_rope)->Unit(benchmark::kMicrosecond);

void cache_write(benchmark::State& state) {
  const auto dtype = static_cast<DType>(state.range(0));
  const auto how = static_cast<Rotation>(state.range(1));
  CpuContext context(1);
  const std::vector<float> x = random_floats(512 * kKvHeads * kDim);
  std::vector<std::byte> bytes(static_cast<std::size_t>(512 * row_bytes(dtype, kKvHeads * kDim)));
  const ConstRows rows(x.data(), 512, kKvHeads * kDim);
  const KvCache cache(Tensor{bytes.data(), dtype, {1, 512, kKvHeads * kDim}}, how, kDim);
  for (auto _ : state) op::kv_write(context, rows, cache, 0);
  report(state, cost::kv_write(rows, cache));
  state.SetLabel(std::string(name(dtype)) + ' ' + name(how));
}
BENCHMARK(cache_write)
    ->ArgNames({"type", "rotation"})
    ->ArgsProduct({{static_cast<int>(DType::kF16), static_cast<int>(DType::kQ8_0), static_cast<int>(DType::kQ4_0)}, {0, 1, 2}})
    ->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace crossover::micro_bench
