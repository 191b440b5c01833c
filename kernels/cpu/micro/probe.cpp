#include "kernels/cpu/probe.h"

#include "kernels/cpu/micro/simd.h"

namespace crossover::cpu::CROSSOVER_ISA {
namespace {

// Enough chains to hide the latency of two multiply-add units (4 cycles each), few enough to stay in registers.
#if defined(__AVX512F__)
constexpr int kChains = 12;
#elif defined(__AVX2__)
constexpr int kChains = 6;  // two registers each
#else
constexpr int kChains = 2;  // four registers each
#endif

float run(std::int64_t steps) {
  const F16 factor = broadcast(0.999f), summand = broadcast(0.001f);  // converges to 1: no overflow, no denormals
  F16 chain[kChains];
  for (int i = 0; i < kChains; ++i) chain[i] = broadcast(0.5f + 0.1f * static_cast<float>(i));
  for (std::int64_t step = 0; step < steps; ++step) {
#pragma GCC unroll 16
    for (int i = 0; i < kChains; ++i) chain[i] = fma(chain[i], factor, summand);
  }
  F16 total = zero();
  for (int i = 0; i < kChains; ++i) total = total + chain[i];
  return sum(total);
}

}  // namespace

extern const FmaProbe probe;
const FmaProbe probe{kChains * 16 * 2, run};

}  // namespace crossover::cpu::CROSSOVER_ISA
