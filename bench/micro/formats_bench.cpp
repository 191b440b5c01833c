// Element formats on one thread: weights and bytes per second, the bytes being those read and written. The 512 KiB of
// f32 stay in L2, so a conversion is bound by its arithmetic there and by memory only where bytes/s comes near what
// memory delivers. The Q6_K quantizer never does: 19 candidates, each at least 4 multiplies a weight that may not be
// fused or reordered (scaled weight, w*x*q, w*q, w*q*q) and as many additions and clamps, so one core of 2 x 256-bit
// multiplies a cycle ends at clock * 16 / 76 weights per second: 780 M at 3.7 GHz.
#include <benchmark/benchmark.h>

#include <random>
#include <string>
#include <vector>

#include "kernels/cpu/isa.h"
#include "kernels/cpu/micro.h"
#include "kernels/formats/formats.h"

namespace crossover {
namespace {

constexpr std::int64_t kValues = 1 << 17;

std::vector<float> weights() {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0.0f, 0.02f);
  std::vector<float> values(kValues);
  for (float& value : values) value = normal(random);
  return values;
}

std::vector<std::byte> row(DType type) {
  return std::vector<std::byte>(static_cast<std::size_t>(row_bytes(type, kValues)));
}

void report(benchmark::State& state, DType type) {
  const auto rate = [](std::int64_t per_iteration) {
    return benchmark::Counter(static_cast<double>(per_iteration), benchmark::Counter::kIsIterationInvariantRate);
  };
  state.counters["weights/s"] = rate(kValues);
  state.counters["bytes/s"] = rate(kValues * 4 + row_bytes(type, kValues));
}

void quantize(benchmark::State& state, DType type, QuantizeFn convert) {
  const std::vector<float> values = weights();
  std::vector<std::byte> bytes = row(type);
  for (auto _ : state) {
    convert(values.data(), bytes.data(), kValues);
    benchmark::ClobberMemory();
  }
  report(state, type);
}

void dequantize(benchmark::State& state, DType type, DequantizeFn convert) {
  std::vector<float> values = weights();
  std::vector<std::byte> bytes = row(type);
  quantize_fn(type)(values.data(), bytes.data(), kValues);
  for (auto _ : state) {
    convert(bytes.data(), values.data(), kValues);
    benchmark::ClobberMemory();
  }
  report(state, type);
}

void add(DType type, const char* version, QuantizeFn to, DequantizeFn from) {
  const std::string end = std::string("/") + name(type) + "/" + version;
  benchmark::RegisterBenchmark(("quantize" + end).c_str(), quantize, type, to)->Unit(benchmark::kMicrosecond);
  benchmark::RegisterBenchmark(("dequantize" + end).c_str(), dequantize, type, from)->Unit(benchmark::kMicrosecond);
}

// "plain" is the scalar reference, which portable uses too.
[[maybe_unused]] const bool kRegistered = [] {
  for (int t = 0; t < kDTypeCount; ++t) {
    const DType type = static_cast<DType>(t);
    add(type, "plain", quantize_fn(type), dequantize_fn(type));
    for (const cpu::Isa isa : cpu::usable_isas()) {
      const cpu::FormatsMicro& formats = *cpu::micro(isa).formats;
      if (isa != cpu::Isa::kPortable) add(type, cpu::name(isa), formats.quantize[t], formats.dequantize[t]);
    }
  }
  return true;
}();

}  // namespace
}  // namespace crossover
