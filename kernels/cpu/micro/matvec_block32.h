// Few tokens times weights in blocks of 32 with one f16 scale: value = d * code + base, in integers except the factors.
#pragma once

#include "kernels/cpu/micro/int8_row.h"
#include "kernels/cpu/micro/matvec_float.h"
#include "kernels/cpu/micro/prefetch.h"

namespace crossover::cpu::CROSSOVER_ISA {

#if defined(__AVX2__)
using Codes = __m256i;
#else
struct Codes { std::uint8_t v[32]; };
#endif

// Low nibbles are values 0..15, high nibbles values 16..31.
CROSSOVER_INLINE Codes nibbles(const std::byte* p) {
#if defined(__AVX2__)
  const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(x, 4), x), _mm256_set1_epi8(15));
#else
  Codes r;
  for (int i = 0; i < 16; ++i) {
    const auto x = static_cast<unsigned>(p[i]);
    r.v[i] = static_cast<std::uint8_t>(x & 15u);
    r.v[i + 16] = static_cast<std::uint8_t>(x >> 4);
  }
  return r;
#endif
}

// Adds 16 to the codes whose bit is set.
CROSSOVER_INLINE Codes add_fifth_bits(Codes codes, const std::byte* p) {
  std::uint32_t bits;
  __builtin_memcpy(&bits, p, sizeof bits);
#if defined(__AVX2__)
  const __m256i spread = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
  const __m256i bit = _mm256_set1_epi64x(static_cast<long long>(0x8040201008040201ull));
  const __m256i own = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32(static_cast<int>(bits)), spread), bit);
  return _mm256_or_si256(codes, _mm256_and_si256(_mm256_cmpeq_epi8(own, bit), _mm256_set1_epi8(16)));
#else
  for (int i = 0; i < 32; ++i) codes.v[i] = static_cast<std::uint8_t>(codes.v[i] | (bits >> i & 1u) << 4);
  return codes;
#endif
}

// Signed codes as unsigned ones 128 higher.
CROSSOVER_INLINE Codes signed_codes(const std::byte* p) {
#if defined(__AVX2__)
  return _mm256_xor_si256(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)), _mm256_set1_epi8(static_cast<char>(0x80)));
#else
  Codes r;
  for (int i = 0; i < 32; ++i) r.v[i] = static_cast<std::uint8_t>(static_cast<unsigned>(p[i]) ^ 0x80u);
  return r;
#endif
}

struct Q80Weight {
  static constexpr std::int64_t kBytes = 34;
  static constexpr bool kWide = true;  // codes above 129: pairs of products do not fit 16 bits
  static CROSSOVER_INLINE Codes codes(const std::byte* p) { return signed_codes(p + 2); }
  static CROSSOVER_INLINE float base(const std::byte* p) { return -128.0f * read_f16(p); }
};
struct Q40Weight {
  static constexpr std::int64_t kBytes = 18;
  static constexpr bool kWide = false;
  static CROSSOVER_INLINE Codes codes(const std::byte* p) { return nibbles(p + 2); }
  static CROSSOVER_INLINE float base(const std::byte* p) { return -8.0f * read_f16(p); }
};
struct Q41Weight {
  static constexpr std::int64_t kBytes = 20;
  static constexpr bool kWide = false;
  static CROSSOVER_INLINE Codes codes(const std::byte* p) { return nibbles(p + 4); }
  static CROSSOVER_INLINE float base(const std::byte* p) { return read_f16(p + 2); }
};
struct Q50Weight {
  static constexpr std::int64_t kBytes = 22;
  static constexpr bool kWide = false;
  static CROSSOVER_INLINE Codes codes(const std::byte* p) { return add_fifth_bits(nibbles(p + 6), p + 2); }
  static CROSSOVER_INLINE float base(const std::byte* p) { return -16.0f * read_f16(p); }
};
struct Q51Weight {
  static constexpr std::int64_t kBytes = 24;
  static constexpr bool kWide = false;
  static CROSSOVER_INLINE Codes codes(const std::byte* p) { return add_fifth_bits(nibbles(p + 8), p + 4); }
  static CROSSOVER_INLINE float base(const std::byte* p) { return read_f16(p + 2); }
};

#if defined(__AVX2__)

// Eight partial sums; exact.
template <bool kWide>
CROSSOVER_INLINE __m256i dot_lanes(Codes codes, const std::int8_t* a) {
  const __m256i x = _mm256_load_si256(reinterpret_cast<const __m256i*>(a));
#if defined(__AVX512F__)
  return _mm256_dpbusd_epi32(_mm256_setzero_si256(), codes, x);
#else
  if constexpr (kWide) {
    const __m256i ones = _mm256_set1_epi16(1), byte = _mm256_set1_epi16(0xff);
    const __m256i even = _mm256_maddubs_epi16(_mm256_and_si256(codes, byte), x), odd = _mm256_maddubs_epi16(_mm256_andnot_si256(byte, codes), x);
    return _mm256_add_epi32(_mm256_madd_epi16(even, ones), _mm256_madd_epi16(odd, ones));
  } else {
    return _mm256_madd_epi16(_mm256_maddubs_epi16(codes, x), _mm256_set1_epi16(1));
  }
#endif
}

template <class Weight, int kTokens>
CROSSOVER_INLINE void dot_block32(const std::byte* w, std::int64_t blocks, const Int8Block* x, std::int64_t x_stride, float* out,
                                  std::int64_t out_stride) {
  __m256 total[kTokens];
  float base_total[kTokens] = {};
  for (int t = 0; t < kTokens; ++t) total[t] = _mm256_setzero_ps();
  for (std::int64_t b = 0; b < blocks; ++b, w += Weight::kBytes) {
    prefetch_weights<Weight::kBytes>(w);
    const Codes codes = Weight::codes(w);
    const float d = read_f16(w), base = Weight::base(w);
    const std::int64_t i = b % 8;
    for (int t = 0; t < kTokens; ++t) {
      const Int8Block& a = x[t * x_stride + b / 8];
      const __m256 dot = _mm256_cvtepi32_ps(dot_lanes<Weight::kWide>(codes, a.code + 32 * i));
      total[t] = _mm256_fmadd_ps(dot, _mm256_set1_ps(d * a.scale[2 * i]), total[t]);
      base_total[t] += base * (a.offset[2 * i] + a.offset[2 * i + 1]);
    }
  }
  for (int t = 0; t < kTokens; ++t) out[t * out_stride] = base_total[t] + sum(total[t]);
}

#else

template <class Weight, int kTokens>
CROSSOVER_INLINE void dot_block32(const std::byte* w, std::int64_t blocks, const Int8Block* x, std::int64_t x_stride, float* out,
                                  std::int64_t out_stride) {
  float total[kTokens] = {};
  for (std::int64_t b = 0; b < blocks; ++b, w += Weight::kBytes) {
    prefetch_weights<Weight::kBytes>(w);
    const Codes codes = Weight::codes(w);
    const float d = read_f16(w), base = Weight::base(w);
    const std::int64_t i = b % 8;
    for (int t = 0; t < kTokens; ++t) {
      const Int8Block& a = x[t * x_stride + b / 8];
      std::int32_t dot = 0;
      for (int j = 0; j < 32; ++j) dot += codes.v[j] * a.code[32 * i + j];
      total[t] += d * a.scale[2 * i] * static_cast<float>(dot) + base * (a.offset[2 * i] + a.offset[2 * i + 1]);
    }
  }
  for (int t = 0; t < kTokens; ++t) out[t * out_stride] = total[t];
}

#endif

template <class Weight, int kTokens>
void matvec_block32(const std::byte* w, std::int64_t weight_rows, std::int64_t dim, const std::byte* packed, float* out, std::int64_t out_stride) {
  const std::int64_t blocks = dim / 32;
  for (std::int64_t n = 0; n < weight_rows; ++n)
    dot_block32<Weight, kTokens>(w + n * blocks * Weight::kBytes, blocks, reinterpret_cast<const Int8Block*>(packed), int8_blocks(dim),
                                 out + n, out_stride);
}

}  // namespace crossover::cpu::CROSSOVER_ISA
