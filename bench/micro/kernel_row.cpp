#include "bench/micro/kernel_row.h"

#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <map>

#include "kernels/buffer.h"
#include "kernels/formats/formats.h"
#include "kernels/formats/panels.h"

namespace crossover::micro_bench {
namespace {

constexpr double kMinTime_s = 0.3;

double seconds_of(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// As fast as memory delivers: each thread one long run, eight sums at once.
void read_all(ThreadPool& pool, int threads, const std::byte* from, std::int64_t bytes) {
  std::atomic<std::uint64_t> total{0};
  const std::int64_t lines = bytes / 64;
  pool.parallel_for(lines, (lines + threads - 1) / threads, [&](std::int64_t begin, std::int64_t end) {
    std::uint64_t sums[8] = {};
    const auto* words = reinterpret_cast<const std::uint64_t*>(from);
    for (std::int64_t i = begin * 8; i < end * 8; i += 8)
      for (int j = 0; j < 8; ++j) sums[j] += words[i + j];
    for (const std::uint64_t sum : sums) total.fetch_add(sum, std::memory_order_relaxed);
  });
  benchmark::DoNotOptimize(total.load());
}

void measure(benchmark::State& state, cpu::Isa isa, int threads, const std::function<KernelRow(std::shared_ptr<CpuContext>)>& prepare) {
  const KernelRow row = prepare(std::make_shared<CpuContext>(threads, isa));
  ThreadPool readers(threads);
  row.work();
  double work_s = 0, read_s = 0;
  for (auto _ : state) {
    const double s = seconds_of(row.work);
    work_s += s;
    state.SetIterationTime(s);
    if (row.memory) read_s += seconds_of([&] { read_all(readers, threads, row.memory, row.memory_bytes); });
  }
  const double calls = static_cast<double>(state.iterations() * row.calls);
  state.counters["flop/s"] = static_cast<double>(row.cost.flops) * calls / work_s;
  state.counters["bytes/s"] = static_cast<double>(row.cost.bytes) * calls / work_s;
  state.counters["s/call"] = work_s / calls;
  if (row.memory) state.counters["read_bytes/s"] = static_cast<double>(state.iterations() * row.memory_bytes) / read_s;
  state.SetLabel(row.bound);
}

}  // namespace

void add_row(const std::string& kernel, cpu::Isa isa, const std::string& shape, int threads, std::function<KernelRow(std::shared_ptr<CpuContext>)> prepare) {
  benchmark::RegisterBenchmark(fmt::format("{}/{}/{}/threads:{}", kernel, cpu::name(isa), shape, threads).c_str(), measure, isa, threads, std::move(prepare))
      ->UseManualTime()
      ->MinTime(kMinTime_s)
      ->Unit(benchmark::kMillisecond);
}

std::byte* weights(DType dtype, Layout layout, std::int64_t bytes) {
  static std::map<std::pair<DType, Layout>, HostBuffer> buffers;
  HostBuffer& buffer = buffers[{dtype, layout}];
  if (static_cast<std::int64_t>(buffer.size()) >= bytes) return buffer.data();
  buffer = HostBuffer(static_cast<std::size_t>(bytes));
  constexpr std::int64_t kRows = 256, kBlock = 256;
  const std::vector<float> values = random_floats(kRows * kBlock, -0.1f, 0.1f);
  std::vector<std::byte> once(static_cast<std::size_t>(kRows * row_bytes(dtype, kBlock)));
  quantize_fn(dtype)(values.data(), once.data(), kRows * kBlock);
  if (layout == Layout::kPanels) {  // of one block of columns: longer rows have the same ones, one after the other
    const std::vector<std::byte> rows = once;
    const std::int64_t panel_bytes = kPanelRows * row_bytes(dtype, kBlock);
    for (std::int64_t i = 0; i < kRows / kPanelRows; ++i) pack_panel(dtype, rows.data() + i * panel_bytes, 0, kPanelRows, kBlock, once.data() + i * panel_bytes);
  }
  for (std::size_t done = 0; done < buffer.size(); done += once.size()) std::memcpy(buffer.data() + done, once.data(), std::min(once.size(), buffer.size() - done));
  return buffer.data();
}

const char* products_of(DType dtype, Layout layout, std::int64_t dim, cpu::Isa isa, std::int64_t tokens) {
  const cpu::GemmTilesMicro* tiles = cpu::micro(isa).gemm_tiles;
  const std::int64_t from = tiles ? tiles->from_tokens(dtype, layout, dim) : 0;
  if (from > 0 && tokens >= from) return "bf16";
  if (is_block_format(dtype)) return "int8";
  return dtype == DType::kBF16 && isa == cpu::Isa::kAvx512Bf16 ? "bf16" : "f32";
}

}  // namespace crossover::micro_bench
