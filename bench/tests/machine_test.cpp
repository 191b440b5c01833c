#include "bench/machine/machine.h"

#include <gtest/gtest.h>

#include "kernels/cpu/probe.h"

namespace crossover {
namespace {

// Bounds of any machine that this could run on; under a sanitizer the low ends are far away.
TEST(Machine, CeilingsAreThoseOfAMachine) {
  const Ceilings found = measure_ceilings(2);
  EXPECT_EQ(found.threads, 2);
  EXPECT_GE(found.read_buffer_bytes, 16u << 20);
  for (const double rate : {found.read_1_bytes_per_s, found.read_all_bytes_per_s}) {
    EXPECT_GT(rate, 1e7);
    EXPECT_LT(rate, 1e13);
  }
  for (const double rate : {found.fma_1_flop_per_s, found.fma_all_flop_per_s}) {
    EXPECT_GT(rate, 1e7);
    EXPECT_LT(rate, 2e12);
  }
  // Narrower numbers are never the slower ones, where there are instructions for them.
  if (found.int8_1_op_per_s > 0) {
    EXPECT_GT(found.int8_1_op_per_s, found.fma_1_flop_per_s);
  }
  EXPECT_EQ(found.int8_1_op_per_s > 0, cpu::best_isa() >= cpu::Isa::kAvx2);
  EXPECT_EQ(found.bf16_1_flop_per_s > 0, cpu::best_isa() >= cpu::Isa::kAvx512Bf16);
}

// What the chains compute is known: none of them stops early or is left out.
TEST(Machine, ProbesOfEveryInstructionSetRun) {
  for (const cpu::Isa isa : cpu::usable_isas()) {
    const cpu::Probes& probes = cpu::probes(isa);
    for (const cpu::Probe& probe : {probes.f32, probes.int8, probes.bf16}) {
      EXPECT_EQ(probe.operations_per_step > 0, probe.run != nullptr) << cpu::name(isa);
      if (probe.run) {
        EXPECT_EQ(probe.run(10), probe.run(10)) << cpu::name(isa);
      }
    }
    EXPECT_NEAR(probes.f32.run(100'000) / static_cast<float>(probes.f32.operations_per_step / 2), 1, 1e-4) << cpu::name(isa);
  }
}

TEST(Machine, ClockIsFineEnoughForAPhase) {
  const Clock found = measure_clock();
  EXPECT_GT(found.resolution_s, 0);
  EXPECT_LT(found.resolution_s, 1e-4);
  EXPECT_GT(found.call_s, 0);
  EXPECT_LT(found.call_s, 1e-4);
}

TEST(Machine, SteadinessIsOrdered) {
  const Steadiness found = measure_steadiness();
  EXPECT_GE(found.spread_percent, 0);
  EXPECT_GE(found.worst_percent, found.spread_percent);
}

TEST(Machine, ConversionHasTheRateOfACore) {
  const double rate = measure_conversion(cpu::micro(cpu::best_isa()), DType::kBF16, DType::kQ6_K);
  EXPECT_GT(rate, 1e5);
  EXPECT_LT(rate, 1e11);
}

}  // namespace
}  // namespace crossover
