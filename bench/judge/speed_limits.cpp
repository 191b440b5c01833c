#include "bench/judge/speed_limits.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace crossover {

namespace {

std::optional<double> number(const std::map<std::string, double>& numbers, const std::string& name) {
  const auto it = numbers.find(name);
  return it == numbers.end() ? std::nullopt : std::optional(it->second);
}

// 1.234e12 flop/s -> "1.23 Tflop/s"
std::string rate_text(double rate, const char* unit) {
  constexpr std::array<const char*, 6> kPrefixes{"", "k", "M", "G", "T", "P"};
  std::size_t prefix = 0;
  for (; prefix + 1 < kPrefixes.size() && rate >= 1000; ++prefix) rate /= 1000;
  return fmt::format("{:.3g} {}{}/s", rate, kPrefixes[prefix], unit);
}

void check(const std::string& phase, double work, double seconds, double rate, const char* unit, std::vector<std::string>& found) {
  if (work <= 0 || seconds <= 0 || rate <= 0 || work / seconds <= kSpeedMargin * rate) return;
  found.push_back(fmt::format("impossible: {} at {}, {:.1f} times the {} that this machine reached when measured", phase, rate_text(work / seconds, unit),
                              work / seconds / rate, rate_text(rate, unit)));
}

double fastest_flop_per_s(const Ceilings& ceilings) {
  return std::max({ceilings.fma_all_flop_per_s, ceilings.int8_all_op_per_s, ceilings.bf16_all_flop_per_s});
}

// Weights that a pass cannot have found in a cache: the buffer of the measurement is at least four times the last level.
double uncached_bytes_per_pass(const Sample& sample, double passes, const Ceilings& ceilings) {
  const auto moved = number(sample.counters, "decode.bytes"), weights = number(sample.counters, "bytes.weights");
  if (!moved || !weights || passes <= 0) return 0;
  return std::max(0.0, std::min(*moved / passes, *weights) - static_cast<double>(ceilings.read_buffer_bytes) / 4);
}

}  // namespace

std::vector<std::string> impossible_speeds(const Sample& sample, const SpeedLimits& limits) {
  std::vector<std::string> found;
  for (const std::string phase : {"prefill", "decode"}) {
    const auto flops = number(sample.counters, phase + ".flops"), seconds = number(sample.metrics, phase + ".total_s");
    if (flops && seconds) check(phase, *flops, *seconds, fastest_flop_per_s(limits.ceilings), "flop", found);
  }
  const auto decode_s = number(sample.metrics, "decode.total_s");
  if (const auto tokens = sample.series.find("decode.token_s"); decode_s && tokens != sample.series.end()) {
    const double passes = static_cast<double>(tokens->second.size());
    check("decode", passes * uncached_bytes_per_pass(sample, passes, limits.ceilings), *decode_s, limits.ceilings.read_all_bytes_per_s, "B", found);
  }
  const auto values = number(sample.counters, "values.quantized"), load_s = number(sample.metrics, "load.total_s");
  if (values && load_s && limits.load && limits.load->quantize_values_per_s)
    check("load", *values, *load_s, *limits.load->quantize_values_per_s * limits.load->cores, "value", found);
  return found;
}

}  // namespace crossover
