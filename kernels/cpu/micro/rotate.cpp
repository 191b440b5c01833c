// Walsh-Hadamard transforms of one head. 256 values are sixteen vectors, which AVX-512 keeps in registers throughout: four stages add
// and subtract whole vectors, four exchange lanes inside one.
#include "kernels/rotation.h"

#include "kernels/cpu/micro.h"
#include "kernels/cpu/micro/simd.h"

namespace crossover::cpu::CROSSOVER_ISA {
namespace {

struct SignTable {
  alignas(64) float values[2][kSignedBlock];
  constexpr SignTable() : values() {
    for (int v = 0; v < 2; ++v)
      for (std::int64_t i = 0; i < kSignedBlock; ++i) values[v][i] = rotation_sign(v, i);
  }
};
constexpr SignTable kSigns;

// Lanes whose bit `stride` is set are negated.
struct ButterflySigns {
  alignas(64) float values[4][16];
  constexpr ButterflySigns() : values() {
    for (int s = 0; s < 4; ++s)
      for (int i = 0; i < 16; ++i) values[s][i] = i >> s & 1 ? -1.0f : 1.0f;
  }
};
constexpr ButterflySigns kButterfly;

// Lane i of the result is lane i ^ 2^stage.
template <int stage>
CROSSOVER_INLINE F16 exchange(F16 x) {
#if defined(__AVX512F__)
  if constexpr (stage == 0) return {_mm512_permute_ps(x.v, 0xb1)};
  if constexpr (stage == 1) return {_mm512_permute_ps(x.v, 0x4e)};
  if constexpr (stage == 2) return {_mm512_shuffle_f32x4(x.v, x.v, 0xb1)};
  if constexpr (stage == 3) return {_mm512_shuffle_f32x4(x.v, x.v, 0x4e)};
#elif defined(__AVX2__)
  if constexpr (stage == 0) return {_mm256_permute_ps(x.a, 0xb1), _mm256_permute_ps(x.b, 0xb1)};
  if constexpr (stage == 1) return {_mm256_permute_ps(x.a, 0x4e), _mm256_permute_ps(x.b, 0x4e)};
  if constexpr (stage == 2) return {_mm256_permute2f128_ps(x.a, x.a, 1), _mm256_permute2f128_ps(x.b, x.b, 1)};
  if constexpr (stage == 3) return {x.b, x.a};
#else
  F16 r;
  for (int i = 0; i < 16; ++i) r.v[i] = x.v[i ^ (1 << stage)];
  return r;
#endif
}

// Both the sum in the lower lane and the difference in the upper one: exact products by +-1, one rounding.
template <int stage, int vectors>
CROSSOVER_INLINE void inside(F16 (&x)[vectors]) {
  const F16 signs = load(kButterfly.values[stage]);
#pragma GCC unroll 16
  for (int i = 0; i < vectors; ++i) x[i] = fma(x[i], signs, exchange<stage>(x[i]));
}

template <int vectors>
CROSSOVER_INLINE void hadamard(F16 (&x)[vectors]) {
#pragma GCC unroll 4
  for (int stride = 1; stride < vectors; stride *= 2) {
#pragma GCC unroll 16
    for (int i = 0; i < vectors; ++i) {
      if (i & stride) continue;
      const F16 a = x[i], b = x[i + stride];
      x[i] = a + b, x[i + stride] = a - b;
    }
  }
  inside<0>(x), inside<1>(x), inside<2>(x), inside<3>(x);
}

// signs: [2][128], before and after, or null.
template <int vectors>
void transform(const float* from, float* to, const float* before, const float* after) {
  const F16 scale = broadcast(1.0f / __builtin_sqrtf(16.0f * vectors));
  F16 x[vectors];
#pragma GCC unroll 16
  for (int i = 0; i < vectors; ++i) x[i] = before ? load(from + 16 * i) * load(before + 16 * i) : load(from + 16 * i);
  hadamard(x);
#pragma GCC unroll 16
  for (int i = 0; i < vectors; ++i) store(to + 16 * i, after ? x[i] * scale * load(after + 16 * i) : x[i] * scale);
}

}  // namespace

void rotate(Rotation rotation, bool back, const float* x, std::int64_t dim, float* out) {
  if (rotation == Rotation::kSigned) {
    for (std::int64_t i = 0; i < dim; i += kSignedBlock) transform<8>(x + i, out + i, kSigns.values[back], kSigns.values[!back]);
    return;
  }
  switch (dim) {
    case 16: return transform<1>(x, out, nullptr, nullptr);
    case 32: return transform<2>(x, out, nullptr, nullptr);
    case 64: return transform<4>(x, out, nullptr, nullptr);
    case 128: return transform<8>(x, out, nullptr, nullptr);
    case 256: return transform<16>(x, out, nullptr, nullptr);
  }
}

}  // namespace crossover::cpu::CROSSOVER_ISA
