// Values to bf16: to nearest, ties to even; what is not a number stays so.
#pragma once

#include "kernels/cpu/micro/simd.h"

namespace crossover::cpu::CROSSOVER_ISA {

CROSSOVER_INLINE std::uint16_t bf16_of(float x) {
  const auto bits = __builtin_bit_cast(std::uint32_t, x);
  if (x != x) return static_cast<std::uint16_t>(bits >> 16 | 0x40);
  return static_cast<std::uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// The first in the low half.
CROSSOVER_INLINE std::uint32_t bf16_pair(float first, float second) { return bf16_of(first) | static_cast<std::uint32_t>(bf16_of(second)) << 16; }

// x [32] to pairs [16].
CROSSOVER_INLINE void store_bf16(const float* x, std::uint32_t* to) {
#if defined(__AVX512BF16__)
  _mm512_storeu_si512(to, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(_mm512_loadu_ps(x + 16), _mm512_loadu_ps(x))));
#else
  for (int p = 0; p < 16; ++p) to[p] = bf16_pair(x[2 * p], x[2 * p + 1]);
#endif
}

}  // namespace crossover::cpu::CROSSOVER_ISA
