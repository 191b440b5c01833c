// Values to pairs of bf16, the first in the low half: to nearest, ties to even; what is not a number stays so.
#pragma once

#include "kernels/cpu/micro/simd.h"

namespace crossover::cpu::CROSSOVER_ISA {

// x [32], to [16].
#if defined(__AVX512BF16__)
CROSSOVER_INLINE void store_bf16(const float* x, std::uint32_t* to) {
  _mm512_storeu_si512(to, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(_mm512_loadu_ps(x + 16), _mm512_loadu_ps(x))));
}
#else
CROSSOVER_INLINE std::uint32_t bf16_of(float x) {
  const auto bits = __builtin_bit_cast(std::uint32_t, x);
  if (x != x) return bits >> 16 | 0x40;
  return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

CROSSOVER_INLINE void store_bf16(const float* x, std::uint32_t* to) {
  for (int p = 0; p < 16; ++p) to[p] = bf16_of(x[2 * p]) | bf16_of(x[2 * p + 1]) << 16;
}
#endif

}  // namespace crossover::cpu::CROSSOVER_ISA
