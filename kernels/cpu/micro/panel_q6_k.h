// Where products of few tokens with Q6_K weights in panels (kernels/formats/panels.h) take their codes from: the panel itself.
#pragma once

#include "kernels/cpu/micro.h"
#include "kernels/cpu/micro/bytes.h"
#include "kernels/cpu/micro/panel_activations.h"
#include "kernels/cpu/micro/matvec_float.h"
#include "kernels/formats/panels.h"

namespace crossover::cpu::CROSSOVER_ISA {

#if defined(__AVX512F__)

// Rows that one vector holds, and vectors of a panel.
inline constexpr int kPanelLanes = 16;
using Bytes = __m512i;
using Floats = __m512;

CROSSOVER_INLINE Bytes load_bytes(const void* p) { return _mm512_loadu_si512(p); }
CROSSOVER_INLINE void store_bytes(void* p, Bytes x) { _mm512_storeu_si512(p, x); }
CROSSOVER_INLINE Floats zero_floats() { return _mm512_setzero_ps(); }
CROSSOVER_INLINE Floats load_floats(const float* p) { return _mm512_loadu_ps(p); }
CROSSOVER_INLINE void store_floats(float* p, Floats x) { _mm512_storeu_ps(p, x); }
CROSSOVER_INLINE Floats fma_floats(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
CROSSOVER_INLINE Floats splat(float x) { return _mm512_set1_ps(x); }
CROSSOVER_INLINE Floats halves(const std::uint16_t* p) { return _mm512_cvtph_ps(load_32_bytes(p)); }
CROSSOVER_INLINE Bytes splat_int(const void* p) {
  std::int32_t x;
  __builtin_memcpy(&x, p, sizeof x);
  return _mm512_set1_epi32(x);
}
CROSSOVER_INLINE Floats to_floats(Bytes x) { return _mm512_cvtepi32_ps(x); }
CROSSOVER_INLINE Bytes add_ints(Bytes a, Bytes b) { return _mm512_add_epi32(a, b); }
CROSSOVER_INLINE Bytes scale_lanes(const std::int8_t* scale) { return _mm512_cvtepi8_epi32(load_16_bytes(scale)); }
CROSSOVER_INLINE Bytes scale_lanes(const std::int32_t* scale) { return _mm512_load_si512(scale); }
// A group's sums begin here: -32 times the sum of its activations (ActivationBlock::bias), the offset of the codes. Sums of 16 products of
// 63 * 127 and their products with a scale of 128 fit 32 bits.
CROSSOVER_INLINE Bytes add_products(Bytes sum, Bytes codes, Bytes activations) {
  add_quads(sum, codes, activations);
  return sum;
}
CROSSOVER_INLINE Bytes scaled(Bytes sum, Bytes scale) { return _mm512_mullo_epi32(sum, scale); }

// The four quads of a group; `half` as it lies in a panel.
CROSSOVER_INLINE void unpack_quads(const PanelQ6_K::Half* half, int vector, Bytes quad[4]) {
  const Bytes nibble = _mm512_set1_epi8(0x0f), pair = _mm512_set1_epi8(0x30);
  const Bytes low0 = load_bytes(half[vector].low[0]), low1 = load_bytes(half[vector].low[1]), high = load_bytes(half[vector].high);
  const auto join = [&](Bytes low, Bytes top) __attribute__((always_inline)) {  // 0xea: (first & second) | third
    return _mm512_ternarylogic_epi32(top, pair, _mm512_and_si512(low, nibble), 0xea);
  };
  quad[0] = join(low0, _mm512_slli_epi16(high, 4));
  quad[1] = join(_mm512_srli_epi16(low0, 4), _mm512_slli_epi16(high, 2));
  quad[2] = join(low1, high);
  quad[3] = join(_mm512_srli_epi16(low1, 4), _mm512_srli_epi16(high, 2));
}

#elif defined(__AVX2__)

inline constexpr int kPanelLanes = 8;
using Bytes = __m256i;
using Floats = __m256;

CROSSOVER_INLINE Bytes load_bytes(const void* p) { return load_32_bytes(p); }
CROSSOVER_INLINE void store_bytes(void* p, Bytes x) { _mm256_storeu_si256(static_cast<__m256i*>(p), x); }
CROSSOVER_INLINE Floats zero_floats() { return _mm256_setzero_ps(); }
CROSSOVER_INLINE Floats load_floats(const float* p) { return _mm256_loadu_ps(p); }
CROSSOVER_INLINE void store_floats(float* p, Floats x) { _mm256_storeu_ps(p, x); }
CROSSOVER_INLINE Floats fma_floats(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
CROSSOVER_INLINE Floats splat(float x) { return _mm256_set1_ps(x); }
CROSSOVER_INLINE Floats halves(const std::uint16_t* p) { return _mm256_cvtph_ps(load_16_bytes(p)); }
CROSSOVER_INLINE Bytes splat_int(const void* p) {
  std::int32_t x;
  __builtin_memcpy(&x, p, sizeof x);
  return _mm256_set1_epi32(x);
}
CROSSOVER_INLINE Floats to_floats(Bytes x) { return _mm256_cvtepi32_ps(x); }
CROSSOVER_INLINE Bytes add_ints(Bytes a, Bytes b) { return _mm256_add_epi32(a, b); }
// In both halves of a lane.
CROSSOVER_INLINE Bytes scale_lanes(const std::int8_t* scale) {
  const __m128i words = _mm_cvtepi8_epi16(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(scale)));
  return _mm256_set_m128i(_mm_unpackhi_epi16(words, words), _mm_unpacklo_epi16(words, words));
}
CROSSOVER_INLINE Bytes scale_lanes(const std::int32_t* scale) { return load_32_bytes(scale); }
// Pairs of products in 16 bits: two of 63 * 127 do not saturate; the sum of all four quads and ActivationBlock::bias (-32 times the sum of
// the same activations) is that of eight products of 32 * 127 and fits, so it is right although parts of it may wrap.
CROSSOVER_INLINE Bytes add_products(Bytes sum, Bytes codes, Bytes activations) {
  return _mm256_add_epi16(sum, _mm256_maddubs_epi16(codes, activations));
}
CROSSOVER_INLINE Bytes scaled(Bytes sum, Bytes scale) { return _mm256_madd_epi16(sum, scale); }

CROSSOVER_INLINE void unpack_quads(const PanelQ6_K::Half* half, int vector, Bytes quad[4]) {
  const PanelQ6_K::Half& from = half[vector / 2];
  const int at = 32 * (vector % 2);
  const Bytes nibble = _mm256_set1_epi8(0x0f), pair = _mm256_set1_epi8(0x30);
  const Bytes low0 = load_bytes(from.low[0] + at), low1 = load_bytes(from.low[1] + at), high = load_bytes(from.high + at);
  const auto join = [&](Bytes low, Bytes top) __attribute__((always_inline)) {
    return _mm256_or_si256(_mm256_and_si256(top, pair), _mm256_and_si256(low, nibble));
  };
  quad[0] = join(low0, _mm256_slli_epi16(high, 4));
  quad[1] = join(_mm256_srli_epi16(low0, 4), _mm256_slli_epi16(high, 2));
  quad[2] = join(low1, high);
  quad[3] = join(_mm256_srli_epi16(low1, 4), _mm256_srli_epi16(high, 2));
}

#else

inline constexpr int kPanelLanes = 4;
struct Bytes { std::uint8_t v[16]; };
struct Floats { float v[4]; };

#define CROSSOVER_FOUR(Type, expr) Type r; for (int i = 0; i < 4; ++i) r.v[i] = (expr); return r
CROSSOVER_INLINE Bytes load_bytes(const void* p) { Bytes r; __builtin_memcpy(&r, p, sizeof r); return r; }
CROSSOVER_INLINE void store_bytes(void* p, Bytes x) { __builtin_memcpy(p, &x, sizeof x); }
CROSSOVER_INLINE Floats zero_floats() { CROSSOVER_FOUR(Floats, 0.0f); }
CROSSOVER_INLINE Floats load_floats(const float* p) { CROSSOVER_FOUR(Floats, p[i]); }
CROSSOVER_INLINE void store_floats(float* p, Floats x) { for (int i = 0; i < 4; ++i) p[i] = x.v[i]; }
CROSSOVER_INLINE Floats fma_floats(Floats a, Floats b, Floats c) { CROSSOVER_FOUR(Floats, a.v[i] * b.v[i] + c.v[i]); }
CROSSOVER_INLINE Floats splat(float x) { CROSSOVER_FOUR(Floats, x); }
CROSSOVER_INLINE Floats halves(const std::uint16_t* p) { CROSSOVER_FOUR(Floats, half_to_float(p[i])); }
struct Ints { std::int32_t v[4]; };
CROSSOVER_INLINE Ints ints(Bytes x) { return __builtin_bit_cast(Ints, x); }
CROSSOVER_INLINE Bytes bytes(Ints x) { return __builtin_bit_cast(Bytes, x); }
CROSSOVER_INLINE Bytes splat_int(const void* p) {
  std::int32_t x;
  __builtin_memcpy(&x, p, sizeof x);
  return bytes({x, x, x, x});
}
CROSSOVER_INLINE Floats to_floats(Bytes x) { CROSSOVER_FOUR(Floats, static_cast<float>(ints(x).v[i])); }
CROSSOVER_INLINE Bytes add_ints(Bytes a, Bytes b) {
  Ints x = ints(a), y = ints(b);
  for (int i = 0; i < 4; ++i) x.v[i] += y.v[i];
  return bytes(x);
}
CROSSOVER_INLINE Bytes scale_lanes(const std::int8_t* scale) { return bytes({scale[0], scale[1], scale[2], scale[3]}); }
CROSSOVER_INLINE Bytes scale_lanes(const std::int32_t* scale) { return load_bytes(scale); }
CROSSOVER_INLINE Bytes add_products(Bytes sum, Bytes codes, Bytes activations) {
  Ints total = ints(sum);
  for (int i = 0; i < 16; ++i) total.v[i / 4] += codes.v[i] * static_cast<std::int8_t>(activations.v[i]);
  return bytes(total);
}
CROSSOVER_INLINE Bytes scaled(Bytes sum, Bytes scale) {
  Ints x = ints(sum), y = ints(scale);
  for (int i = 0; i < 4; ++i) x.v[i] *= y.v[i];
  return bytes(x);
}
CROSSOVER_INLINE void unpack_quads(const PanelQ6_K::Half* half, int vector, Bytes quad[4]) {
  const PanelQ6_K::Half& from = half[vector / 4];
  const int at = 16 * (vector % 4);
  for (int q = 0; q < 4; ++q)
    for (int i = 0; i < 16; ++i)
      quad[q].v[i] = static_cast<std::uint8_t>((from.low[q / 2][at + i] >> 4 * (q % 2) & 15) | (from.high[at + i] >> 2 * q & 3) << 4);
}
#undef CROSSOVER_FOUR

#endif

inline constexpr int kPanelVectors = static_cast<int>(kPanelRows) / kPanelLanes;  // of rows
inline constexpr int kVectorBytes = 4 * kPanelLanes;

// Line by line from the front on, before the codes behind them: measured on Zen 4, one thread reads panels from memory at 33 GB/s so, at
// 12 when the factors are taken as they are needed, and at 19 when they are and everything is prefetched 8 KiB ahead by instructions.
CROSSOVER_INLINE void copy_factors(const PanelQ6_K& from, PanelQ6_K::Factors& to) {
#pragma GCC unroll 9
  for (std::size_t i = 0; i < sizeof to; i += sizeof(Bytes))
    store_bytes(reinterpret_cast<char*>(&to) + i, load_bytes(reinterpret_cast<const char*>(&from.factors) + i));
}

// Where codes and factors come from: those of a group of 16 values for the rows of one vector, quad q times activations 4q .. 4q + 3.

// One panel from front to back.
class PanelSource {
 public:
  static constexpr int kPanels = 1;
  CROSSOVER_INLINE PanelSource(const PanelQ6_K* panel, std::int64_t) : panel_(panel) {}
  CROSSOVER_INLINE void enter(std::int64_t b) {
    block_ = panel_ + b;
    copy_factors(*block_, factors_);
  }
  CROSSOVER_INLINE void quads(int group, int vector, Bytes quad[4]) const { unpack_quads(block_->half[group], vector, quad); }
  CROSSOVER_INLINE Bytes scale(int group, int vector) const { return scale_lanes(factors_.scales[group] + kPanelLanes * vector); }
  CROSSOVER_INLINE Floats d(int vector) const { return halves(factors_.d + kPanelLanes * vector); }

 private:
  const PanelQ6_K *panel_, *block_ = nullptr;
  alignas(64) PanelQ6_K::Factors factors_;
};

#if defined(__AVX512F__)

// One panel, or two, each line asked for ahead of its use. Measured on a Granite Rapids core, whose prefetcher stops at every
// 4 KiB and whose window is too short to hide what follows: 0.59 of the bandwidth of reading as above, 0.87 asked for 2 KiB ahead (0.74 when
// block by block, 0.60 when taken without asking), 0.98 with two panels, which are two streams to the prefetcher.
template <int panels>
class PrefetchedSource {
 public:
  static constexpr int kPanels = panels;
  CROSSOVER_INLINE PrefetchedSource(const PanelQ6_K* panel, std::int64_t apart) : panel_(panel), apart_(apart) {}
  CROSSOVER_INLINE void enter(std::int64_t b) {
    block_ = panel_ + b;
#pragma GCC unroll 2
    for (int p = 0; p < kPanels; ++p) ahead<sizeof(PanelQ6_K::Factors)>(&of(p).factors);
  }
  CROSSOVER_INLINE void quads(int group, int vector, Bytes quad[4]) const {
    const PanelQ6_K::Half* half = of(vector / kPanelVectors).half[group];
    ahead<sizeof(PanelQ6_K::Half)>(half + vector % kPanelVectors);
    unpack_quads(half, vector % kPanelVectors, quad);
  }
  CROSSOVER_INLINE Bytes scale(int group, int vector) const {
    return scale_lanes(of(vector / kPanelVectors).factors.scales[group] + kPanelLanes * (vector % kPanelVectors));
  }
  CROSSOVER_INLINE Floats d(int vector) const { return halves(of(vector / kPanelVectors).factors.d + kPanelLanes * (vector % kPanelVectors)); }

 private:
  CROSSOVER_INLINE const PanelQ6_K& of(int p) const { return block_[p * apart_]; }
  template <std::size_t bytes>
  CROSSOVER_INLINE static void ahead(const void* from) {
    constexpr std::size_t kAhead = 2048 / kPanels;
#pragma GCC unroll 9
    for (std::size_t i = 0; i < bytes; i += 64) __builtin_prefetch(static_cast<const char*>(from) + kAhead + i, 0, 3);
  }

  const PanelQ6_K *panel_, *block_ = nullptr;
  std::int64_t apart_;  // blocks from one panel to the other
};

#endif

}  // namespace crossover::cpu::CROSSOVER_ISA
