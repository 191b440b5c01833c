// Element formats: weights and bytes per second, the bytes being those read and written. The 512 KiB of f32 stay in L2,
// so a conversion is bound by its arithmetic there and by memory only where bytes/s comes near what memory delivers.
// "convert" is what a load calls: the stored row checked for NaN and infinity and quantized in strips, on one thread
// and on two, each with rows of its own; its rates are those of all threads together. The Q6_K quantizer never comes
// near memory: 19 candidates, each at least 4 multiplies a weight that may not be fused or reordered (scaled weight,
// w*x*q, w*q, w*q*q) and three additions or roundings, so one core of 2 x 256-bit multiplies a cycle ends at clock *
// 16 / 76 weights per second: 780 M at 3.7 GHz.
#include <benchmark/benchmark.h>

#include <random>
#include <string>
#include <vector>

#include "kernels/cpu/isa.h"
#include "kernels/cpu/micro.h"
#include "kernels/formats/formats.h"

namespace crossover {
namespace {

using ConvertFn = std::int64_t (*)(DType, const std::byte*, DType, std::byte*, std::int64_t);

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

void convert_rows(benchmark::State& state, DType from, DType to, ConvertFn convert) {
  const std::vector<float> values = weights();
  std::vector<std::byte> stored = row(from), bytes = row(to);
  quantize_fn(from)(values.data(), stored.data(), kValues);
  for (auto _ : state) {
    benchmark::DoNotOptimize(convert(from, stored.data(), to, bytes.data(), kValues));
    benchmark::ClobberMemory();
  }
  const auto rate = [&](std::int64_t per_iteration) {  // summed over the threads
    return benchmark::Counter(static_cast<double>(per_iteration * state.iterations()), benchmark::Counter::kIsRate);
  };
  state.counters["weights/s"] = rate(kValues);
  state.counters["bytes/s"] = rate(row_bytes(from, kValues) + row_bytes(to, kValues));
}

void add_convert(DType from, DType to, const char* version, ConvertFn convert) {
  const std::string title = std::string("convert/") + name(from) + "/" + name(to) + "/" + version;
  benchmark::RegisterBenchmark(title.c_str(), convert_rows, from, to, convert)
      ->Unit(benchmark::kMicrosecond)
      ->UseRealTime()
      ->ThreadRange(1, 2);
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
    for (const DType source : {DType::kF32, DType::kBF16, DType::kF16}) {
      add_convert(source, type, "plain", convert_values);
      for (const cpu::Isa isa : cpu::usable_isas())
        if (isa != cpu::Isa::kPortable) add_convert(source, type, cpu::name(isa), cpu::micro(isa).formats->convert);
    }
  }
  return true;
}();

}  // namespace
}  // namespace crossover
