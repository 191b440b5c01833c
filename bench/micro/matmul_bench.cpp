// Matrix products beside their bounds: few tokens beside a loop that only reads as many bytes, many tokens in flop/s per thread.
#include <benchmark/benchmark.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <map>
#include <random>
#include <vector>

#include "kernels/buffer.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/isa.h"
#include "kernels/formats/formats.h"

namespace crossover {
namespace {

constexpr std::size_t kMemoryBytes = 512u << 20;  // beyond any L3 cache: whatever is read comes from memory

// Valid blocks of `dtype` repeated to kMemoryBytes; their values do not matter to the time.
const HostBuffer& weights(DType dtype) {
  static std::map<DType, HostBuffer> buffers;
  HostBuffer& buffer = buffers[dtype];
  if (buffer.size() > 0) return buffer;
  buffer = HostBuffer(kMemoryBytes);
  constexpr std::int64_t kValues = 256 * 256;
  std::mt19937 random(1);
  std::vector<float> values(kValues);
  for (float& value : values) value = static_cast<float>(random() % 2001) * 1e-4f - 0.1f;
  const auto bytes = static_cast<std::size_t>(row_bytes(dtype, kValues));
  quantize_fn(dtype)(values.data(), buffer.data(), kValues);
  for (std::size_t done = bytes; done < kMemoryBytes; done += bytes)
    std::memcpy(buffer.data() + done, buffer.data(), std::min(bytes, kMemoryBytes - done));
  return buffer;
}

struct Machine {
  explicit Machine(int threads) : pool(threads), context{cpu_ops(), pool, workspace, counters, nullptr, &cpu::micro(cpu::best_isa())} {}
  ThreadPool pool;
  Workspace workspace;
  Counters counters;
  Context context;
};

// Adds all 64-bit words, eight sums at once: as fast as memory delivers.
std::uint64_t read_all(ThreadPool& pool, const std::byte* from, std::int64_t bytes) {
  constexpr std::int64_t kChunk = 64 * 1024;
  std::atomic<std::uint64_t> total{0};
  pool.parallel_for(bytes / kChunk, 1, [&](std::int64_t begin, std::int64_t end) {
    std::uint64_t sums[8] = {};
    const auto* words = reinterpret_cast<const std::uint64_t*>(from + begin * kChunk);
    for (std::int64_t i = 0; i < (end - begin) * kChunk / 8; i += 8)
      for (int j = 0; j < 8; ++j) sums[j] += words[i + j];
    std::uint64_t sum = 0;
    for (const std::uint64_t s : sums) sum += s;
    total.fetch_add(sum, std::memory_order_relaxed);
  });
  return total;
}

double seconds_of(auto&& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Weights [N, K] x 1 .. 4 tokens; each iteration passes once over all of the memory, by product and by plain reading in turn.
void matvec(benchmark::State& state, DType dtype) {
  const std::int64_t n = state.range(0), k = state.range(1), tokens = state.range(2);
  Machine machine(static_cast<int>(state.range(3)));
  const HostBuffer& memory = weights(dtype);
  const std::int64_t matrix_bytes = n * row_bytes(dtype, k), matrices = static_cast<std::int64_t>(kMemoryBytes) / matrix_bytes;
  std::vector<float> x(static_cast<std::size_t>(tokens * k), 0.5f), out(static_cast<std::size_t>(tokens * n));
  double product_s = 0, read_s = 0;
  for (auto _ : state) {
    const double s = seconds_of([&] {
      for (std::int64_t i = 0; i < matrices; ++i)
        cpu::matmul(machine.context, Rows(x.data(), tokens, k), Tensor{memory.data() + i * matrix_bytes, dtype, {1, n, k}}, Rows(out.data(), tokens, n));
    });
    product_s += s;
    read_s += seconds_of([&] { benchmark::DoNotOptimize(read_all(machine.pool, memory.data(), matrices * matrix_bytes)); });
    state.SetIterationTime(s);
  }
  const double bytes = static_cast<double>(state.iterations() * matrices * matrix_bytes);
  state.counters["bytes_per_s"] = bytes / product_s;
  state.counters["read_bytes_per_s"] = bytes / read_s;
  state.counters["of_read"] = read_s / product_s;
}

// x [T, K] x weight [N, K] on one thread.
void gemm(benchmark::State& state, DType dtype) {
  const std::int64_t tokens = state.range(0), n = state.range(1), k = state.range(2);
  Machine machine(1);
  const Tensor weight{weights(dtype).data(), dtype, {1, n, k}};
  std::vector<float> x(static_cast<std::size_t>(tokens * k), 0.5f), out(static_cast<std::size_t>(tokens * n));
  for (auto _ : state) cpu::matmul(machine.context, Rows(x.data(), tokens, k), weight, Rows(out.data(), tokens, n));
  state.counters["flop_per_s"] = benchmark::Counter(2.0 * static_cast<double>(tokens * n * k), benchmark::Counter::kIsIterationInvariantRate);
}

void matvec_shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"N", "K", "T", "threads"})->UseManualTime()->Unit(benchmark::kMillisecond)->MinTime(0.6);
  for (const std::int64_t threads : {1, 2})
    for (const auto& [n, k] : {std::pair(17408, 5120), std::pair(5120, 17408), std::pair(8192, 2048), std::pair(512, 2048), std::pair(2048, 512)})
      b->Args({n, k, 1, threads});
  for (const std::int64_t tokens : {2, 4, 8}) b->Args({8192, 2048, tokens, 2});
}
BENCHMARK_CAPTURE(matvec, q6_k, DType::kQ6_K)->Apply(matvec_shapes);
BENCHMARK_CAPTURE(matvec, q8_0, DType::kQ8_0)->ArgNames({"N", "K", "T", "threads"})->UseManualTime()->MinTime(0.6)->Args({8192, 2048, 1, 2});
BENCHMARK_CAPTURE(matvec, bf16, DType::kBF16)->ArgNames({"N", "K", "T", "threads"})->UseManualTime()->MinTime(0.6)->Args({8192, 2048, 1, 2});

void gemm_shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"T", "N", "K"})->Unit(benchmark::kMillisecond)->MinTime(0.3);
  for (const std::int64_t tokens : {1, 2, 4, 8, 12, 16, 24, 32, 64, 512}) b->Args({tokens, 1024, 2048});
  b->Args({1, 256, 17408})->Args({1, 512, 5120})->Args({512, 1024, 5120})->Args({512, 2048, 512})->Args({512, 512, 17408});
}
BENCHMARK_CAPTURE(gemm, q6_k, DType::kQ6_K)->Apply(gemm_shapes);
BENCHMARK_CAPTURE(gemm, q8_0, DType::kQ8_0)->Apply(gemm_shapes);
BENCHMARK_CAPTURE(gemm, bf16, DType::kBF16)->Apply(gemm_shapes);
BENCHMARK_CAPTURE(gemm, f32, DType::kF32)->Apply(gemm_shapes);

}  // namespace
}  // namespace crossover
