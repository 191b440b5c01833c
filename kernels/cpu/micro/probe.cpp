#include "kernels/cpu/probe.h"

#include "kernels/cpu/micro/simd.h"

namespace crossover::cpu::CROSSOVER_ISA {
namespace {

// Enough chains to hide the latency of two multiply-add units (4 to 6 cycles each), few enough to stay in registers.
#if defined(__AVX512F__)
constexpr int kChains = 12;
constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr int kChains = 6;  // two registers each
constexpr int kVectorBytes = 32;
#else
constexpr int kChains = 2;  // four registers each
#endif

float f32_chains(std::int64_t steps) {
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

// Assembly, because GCC 12 spills accumulators of these instructions and would compute a product of constants once; the loop
// too, because it spills them between two statements. The products of a step sum to zero; steps > 0.
#if defined(__AVX512VNNI__)
#define CROSSOVER_STEP_1(instruction, i) instruction " %14, %13, %" #i "\n\t"
#define CROSSOVER_STEP_12(instruction)                                                                                          \
  CROSSOVER_STEP_1(instruction, 0) CROSSOVER_STEP_1(instruction, 1) CROSSOVER_STEP_1(instruction, 2) CROSSOVER_STEP_1(instruction, 3) \
  CROSSOVER_STEP_1(instruction, 4) CROSSOVER_STEP_1(instruction, 5) CROSSOVER_STEP_1(instruction, 6) CROSSOVER_STEP_1(instruction, 7) \
  CROSSOVER_STEP_1(instruction, 8) CROSSOVER_STEP_1(instruction, 9) CROSSOVER_STEP_1(instruction, 10) CROSSOVER_STEP_1(instruction, 11)
#define CROSSOVER_CHAINS \
  "+v"(c[0]), "+v"(c[1]), "+v"(c[2]), "+v"(c[3]), "+v"(c[4]), "+v"(c[5]), "+v"(c[6]), "+v"(c[7]), "+v"(c[8]), "+v"(c[9]), "+v"(c[10]), "+v"(c[11])

float int8_chains(std::int64_t steps) {
  const __m512i a = _mm512_set1_epi8(1), b = _mm512_set1_epi16(0x01ff);
  __m512i c[kChains];
  for (int i = 0; i < kChains; ++i) c[i] = _mm512_set1_epi32(i);
  asm volatile("1:\n\t" CROSSOVER_STEP_12("vpdpbusd") "dec %12\n\tjnz 1b" : CROSSOVER_CHAINS, "+r"(steps) : "v"(a), "v"(b) : "cc");
  __m512i total = _mm512_setzero_si512();
  for (int i = 0; i < kChains; ++i) total = _mm512_add_epi32(total, c[i]);
  return static_cast<float>(_mm512_reduce_add_epi32(total));
}
#elif defined(__AVX2__)
#define CROSSOVER_STEP(i) "vpmaddubsw %9, %8, %6\n\tvpmaddwd %10, %6, %6\n\tvpaddd %6, %" #i ", %" #i "\n\t"

float int8_chains(std::int64_t steps) {
  const __m256i a = _mm256_set1_epi8(1), b = _mm256_set1_epi16(0x01ff), ones = _mm256_set1_epi16(1);
  __m256i c[kChains], pairs;
  for (int i = 0; i < kChains; ++i) c[i] = _mm256_set1_epi32(i);
  asm volatile("1:\n\t" CROSSOVER_STEP(0) CROSSOVER_STEP(1) CROSSOVER_STEP(2) CROSSOVER_STEP(3) CROSSOVER_STEP(4) CROSSOVER_STEP(5) "dec %7\n\tjnz 1b"
               : "+x"(c[0]), "+x"(c[1]), "+x"(c[2]), "+x"(c[3]), "+x"(c[4]), "+x"(c[5]), "=&x"(pairs), "+r"(steps)
               : "x"(a), "x"(b), "x"(ones)
               : "cc");
  __m256i total = _mm256_setzero_si256();
  for (int i = 0; i < kChains; ++i) total = _mm256_add_epi32(total, c[i]);
  return static_cast<float>(_mm256_extract_epi32(total, 0));
}
#endif

#if defined(__AVX512BF16__)
float bf16_chains(std::int64_t steps) {
  const __m512i a = _mm512_set1_epi32(0x3f803f80), b = _mm512_set1_epi32(static_cast<int>(0x3f80bf80u));  // (1, 1) and (1, -1)
  __m512 c[kChains];
  for (int i = 0; i < kChains; ++i) c[i] = _mm512_set1_ps(static_cast<float>(i));
  asm volatile("1:\n\t" CROSSOVER_STEP_12("vdpbf16ps") "dec %12\n\tjnz 1b" : CROSSOVER_CHAINS, "+r"(steps) : "v"(a), "v"(b) : "cc");
  __m512 total = _mm512_setzero_ps();
  for (int i = 0; i < kChains; ++i) total = _mm512_add_ps(total, c[i]);
  return _mm512_reduce_add_ps(total);
}
#endif

}  // namespace

extern const Probes probes;
const Probes probes{
    .f32 = {kChains * 16 * 2, f32_chains},
#if defined(__AVX2__)
    .int8 = {kChains * kVectorBytes * 2, int8_chains},
#endif
#if defined(__AVX512BF16__)
    .bf16 = {kChains * kVectorBytes, bf16_chains},
#endif
};

}  // namespace crossover::cpu::CROSSOVER_ISA
