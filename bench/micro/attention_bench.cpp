// Attention of the 35B-A3B shape (16 query heads, 2 KV heads of 256), one thread. Prefill is bound by arithmetic: 4 flop per
// query head, feature and visible key, one 16-lane fma per cycle at best (117 GFLOP/s at 3.7 GHz). Decode reads the cache once:
// bound by bandwidth when the cache is f32, by conversion when it is not.
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

void attend(benchmark::State& state, std::int64_t tokens, std::int64_t past, DType dtype) {
  CpuContext context(1);
  const std::vector<float> q = random_floats(tokens * kHeads * kDim);
  std::vector<std::byte> keys = cache_of(dtype, past + tokens), values = keys;
  std::vector<float> out(q.size());
  const Attention a{.q = {q.data(), tokens * kHeads, kDim},
                    .keys = {keys.data(), dtype, {1, past + tokens, kKvHeads * kDim}},
                    .values = {values.data(), dtype, {1, past + tokens, kKvHeads * kDim}},
                    .past = past,
                    .heads = kHeads,
                    .kv_heads = kKvHeads};
  const Rows result(out.data(), tokens * kHeads, kDim);
  for (auto _ : state) op::attention(context, a, result);
  report(state, cost::attention(a, result));
  state.SetLabel(name(dtype));
}

void attention_prefill(benchmark::State& state) {
  attend(state, state.range(0), state.range(1), static_cast<DType>(state.range(2)));
}
BENCHMARK(attention_prefill)
    ->ArgNames({"tokens", "past", "type"})
    ->ArgsProduct({{512}, {0, 4096}, {static_cast<int>(DType::kF32), static_cast<int>(DType::kF16), static_cast<int>(DType::kQ8_0)}})
    ->Unit(benchmark::kMillisecond);

void attention_decode(benchmark::State& state) { attend(state, 1, state.range(0), static_cast<DType>(state.range(1))); }
BENCHMARK(attention_decode)
    ->ArgNames({"past", "type"})
    ->ArgsProduct({{512, 16384},
                   {static_cast<int>(DType::kF32), static_cast<int>(DType::kF16), static_cast<int>(DType::kQ8_0), static_cast<int>(DType::kQ4_0)}})
    ->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace crossover::micro_bench
