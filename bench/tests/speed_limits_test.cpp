#include "bench/judge/speed_limits.h"

#include <gtest/gtest.h>

namespace crossover {
namespace {

SpeedLimits machine() {
  SpeedLimits limits;
  limits.ceilings.read_buffer_bytes = 256 << 20;  // caches of at most 64 MiB
  limits.ceilings.read_all_bytes_per_s = 50e9;
  limits.ceilings.fma_all_flop_per_s = 200e9, limits.ceilings.int8_all_op_per_s = 800e9, limits.ceilings.bf16_all_flop_per_s = 400e9;
  limits.load = LoadRates{std::nullopt, std::nullopt, 1e9, 2};
  return limits;
}

Sample sample_of(double prefill_s, double decode_s, double load_s) {
  Sample sample;
  sample.metrics = {{"prefill.total_s", prefill_s}, {"decode.total_s", decode_s}, {"load.total_s", load_s}};
  sample.counters = {{"prefill.flops", 8e11}, {"decode.flops", 1e10}, {"decode.bytes", 10 * 1.2e9}, {"bytes.weights", 1e9}, {"values.quantized", 2e9}};
  sample.series["decode.token_s"].assign(10, decode_s / 10);
  return sample;
}

TEST(SpeedLimits, AreSilentUpToTheMargin) {
  EXPECT_TRUE(impossible_speeds(sample_of(1, 1, 2), machine()).empty());
  EXPECT_TRUE(impossible_speeds(sample_of(0.70, 0.13, 0.70), machine()).empty());  // above the ceilings, within the margin
  EXPECT_TRUE(impossible_speeds(Sample{}, machine()).empty());
}

TEST(SpeedLimits, NameThePhaseAndTheNumbers) {
  const auto prefill = impossible_speeds(sample_of(0.1, 1, 2), machine());
  ASSERT_EQ(prefill.size(), 1U);
  EXPECT_EQ(prefill[0], "impossible: prefill at 8 Tflop/s, 10.0 times the 800 Gflop/s that this machine reached when measured");
  // Ten passes over 1 GB of weights, less 64 MiB of cache each.
  const auto decode = impossible_speeds(sample_of(2, 0.1, 2), machine());
  ASSERT_EQ(decode.size(), 1U);
  EXPECT_EQ(decode[0], "impossible: decode at 93.3 GB/s, 1.9 times the 50 GB/s that this machine reached when measured");
  const auto load = impossible_speeds(sample_of(2, 1, 0.1), machine());
  ASSERT_EQ(load.size(), 1U);
  EXPECT_EQ(load[0], "impossible: load at 20 Gvalue/s, 10.0 times the 2 Gvalue/s that this machine reached when measured");
}

// A model that fits into the caches is not read from memory, however often it is used.
TEST(SpeedLimits, GrantWhatCachesCanHold) {
  Sample sample = sample_of(2, 0.001, 2);
  sample.counters["bytes.weights"] = 60e6;
  sample.counters["decode.flops"] = 1e6;
  EXPECT_TRUE(impossible_speeds(sample, machine()).empty());
}

TEST(SpeedLimits, AreSilentWhereNothingWasMeasured) {
  EXPECT_TRUE(impossible_speeds(sample_of(1e-9, 1e-9, 1e-9), SpeedLimits{}).empty());
}

}  // namespace
}  // namespace crossover
