// Few tokens times Q6_K weights: codes 0..63 times int8 activations in integers, one f32 factor per 16 values; the -32 of the
// codes is added per 16 values through Int8Block::offset.
#pragma once

#include "kernels/cpu/micro/int8_row.h"
#include "kernels/cpu/micro/matvec_float.h"
#include "kernels/cpu/micro/prefetch.h"
#include "kernels/formats/blocks.h"

namespace crossover::cpu::CROSSOVER_ISA {

#if defined(__AVX512F__)

// 64 consecutive codes per vector.
CROSSOVER_INLINE void unpack(const BlockQ6_K& block, __m512i code[4]) {
  const __m512i nibble = _mm512_set1_epi8(0x0f), pair = _mm512_set1_epi8(0x30);
  const __m512i left = _mm512_inserti64x4(_mm512_set1_epi16(4), _mm256_set1_epi16(2), 1);
  const __m512i right = _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi16(2), 1);
  for (int h = 0; h < 2; ++h) {
    const __m512i low = _mm512_loadu_si512(block.ql + 64 * h);
    const __m512i high = _mm512_broadcast_i64x4(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(block.qh + 32 * h)));
    // 0xea: (first & second) | third
    code[2 * h] = _mm512_ternarylogic_epi32(_mm512_sllv_epi16(high, left), pair, _mm512_and_si512(low, nibble), 0xea);
    code[2 * h + 1] = _mm512_ternarylogic_epi32(_mm512_srlv_epi16(high, right), pair,
                                                _mm512_and_si512(_mm512_srli_epi16(low, 4), nibble), 0xea);
  }
}

template <int kTokens>
CROSSOVER_INLINE void dot_q6_k(const BlockQ6_K* w, std::int64_t blocks, const Int8Block* x, float* out, std::int64_t out_stride) {
  __m512 even[kTokens], odd[kTokens];
  for (int t = 0; t < kTokens; ++t) even[t] = odd[t] = _mm512_setzero_ps();
  // Lane i of product c belongs to values 64c + 4i ..: factor 4c + i / 4.
  const __m512i first = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
  for (std::int64_t b = 0; b < blocks; ++b) {
    prefetch_weights<sizeof(BlockQ6_K)>(w + b);
    __m512i code[4];
    unpack(w[b], code);
    const __m512i scale = _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(w[b].scales)));
    const __m512 weight = _mm512_mul_ps(_mm512_cvtepi32_ps(scale), _mm512_set1_ps(half_to_float(w[b].d)));
    const __m512 minus_32 = _mm512_mul_ps(weight, _mm512_set1_ps(-32.0f));
    for (int t = 0; t < kTokens; ++t) {
      const Int8Block& a = x[t * blocks + b];
      const __m512 factor = _mm512_mul_ps(weight, _mm512_load_ps(a.scale));
      even[t] = _mm512_fmadd_ps(minus_32, _mm512_load_ps(a.offset), even[t]);
      for (int c = 0; c < 4; ++c) {
        const __m512i dot = _mm512_dpbusd_epi32(_mm512_setzero_si512(), code[c], _mm512_load_si512(a.code + 64 * c));
        const __m512 f = _mm512_permutexvar_ps(_mm512_add_epi32(first, _mm512_set1_epi32(4 * c)), factor);
        __m512& total = c % 2 ? odd[t] : even[t];
        total = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), f, total);
      }
    }
  }
  for (int t = 0; t < kTokens; ++t) out[t * out_stride] = _mm512_reduce_add_ps(_mm512_add_ps(even[t], odd[t]));
}

#elif defined(__AVX2__)

// 32 consecutive codes per vector.
CROSSOVER_INLINE void unpack(const BlockQ6_K& block, __m256i code[8]) {
  const __m256i nibble = _mm256_set1_epi8(0x0f), pair = _mm256_set1_epi8(0x30);
  for (int h = 0; h < 2; ++h) {
    const __m256i low0 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(block.ql + 64 * h));
    const __m256i low1 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(block.ql + 64 * h + 32));
    const __m256i high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(block.qh + 32 * h));
    __m256i* to = code + 4 * h;
    to[0] = _mm256_or_si256(_mm256_and_si256(low0, nibble), _mm256_and_si256(_mm256_slli_epi16(high, 4), pair));
    to[1] = _mm256_or_si256(_mm256_and_si256(low1, nibble), _mm256_and_si256(_mm256_slli_epi16(high, 2), pair));
    to[2] = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(low0, 4), nibble), _mm256_and_si256(high, pair));
    to[3] = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(low1, 4), nibble), _mm256_and_si256(_mm256_srli_epi16(high, 2), pair));
  }
}

// 63 * 127 * 2 = 16002 fits the saturating 16-bit pair sums; times a scale of at most 128, two of them fit 32 bits.
template <int kTokens>
CROSSOVER_INLINE void dot_q6_k(const BlockQ6_K* w, std::int64_t blocks, const Int8Block* x, float* out, std::int64_t out_stride) {
  __m256 total[kTokens];
  for (int t = 0; t < kTokens; ++t) total[t] = _mm256_setzero_ps();
  for (std::int64_t b = 0; b < blocks; ++b) {
    prefetch_weights<sizeof(BlockQ6_K)>(w + b);
    __m256i code[8];
    unpack(w[b], code);
    const __m128i scale = _mm_loadu_si128(reinterpret_cast<const __m128i*>(w[b].scales));
    const __m256 d = _mm256_set1_ps(half_to_float(w[b].d)), minus_32 = _mm256_set1_ps(-32.0f);
    const __m256 low_scale = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(scale)), minus_32);
    const __m256 high_scale = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(scale, 8))), minus_32);
    __m256 block_total[kTokens];
    for (int t = 0; t < kTokens; ++t) {
      const float* offset = x[t * blocks + b].offset;
      block_total[t] = _mm256_fmadd_ps(high_scale, _mm256_load_ps(offset + 8), _mm256_mul_ps(low_scale, _mm256_load_ps(offset)));
    }
    for (int c = 0; c < 8; ++c) {
      // The first eight 16-bit lanes hold pairs of group 2c, the others of group 2c + 1.
      const __m128i pick = _mm_add_epi8(_mm_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1), _mm_set1_epi8(static_cast<char>(2 * c)));
      const __m256i group_scale = _mm256_cvtepi8_epi16(_mm_shuffle_epi8(scale, pick));
      for (int t = 0; t < kTokens; ++t) {
        const Int8Block& a = x[t * blocks + b];
        const __m256i pairs = _mm256_maddubs_epi16(code[c], _mm256_load_si256(reinterpret_cast<const __m256i*>(a.code + 32 * c)));
        const __m256 dot = _mm256_cvtepi32_ps(_mm256_madd_epi16(pairs, group_scale));
        block_total[t] = _mm256_fmadd_ps(dot, _mm256_set1_ps(a.scale[2 * c]), block_total[t]);
      }
    }
    for (int t = 0; t < kTokens; ++t) total[t] = _mm256_fmadd_ps(d, block_total[t], total[t]);
  }
  for (int t = 0; t < kTokens; ++t) out[t * out_stride] = sum(total[t]);
}

#else

CROSSOVER_INLINE void unpack(const BlockQ6_K& block, std::uint8_t code[kInt8Block]) {
  for (int h = 0; h < 2; ++h)
    for (int l = 0; l < 64; ++l) {
      const unsigned low = block.ql[64 * h + l], high = block.qh[32 * h + l % 32], first = l < 32 ? 0 : 2;
      code[128 * h + l] = static_cast<std::uint8_t>((low & 15u) | ((high >> first & 3u) << 4));
      code[128 * h + 64 + l] = static_cast<std::uint8_t>((low >> 4) | ((high >> (first + 4) & 3u) << 4));
    }
}

template <int kTokens>
CROSSOVER_INLINE void dot_q6_k(const BlockQ6_K* w, std::int64_t blocks, const Int8Block* x, float* out, std::int64_t out_stride) {
  float total[kTokens] = {};
  for (std::int64_t b = 0; b < blocks; ++b) {
    prefetch_weights<sizeof(BlockQ6_K)>(w + b);
    std::uint8_t code[kInt8Block];
    unpack(w[b], code);
    const float d = half_to_float(w[b].d);
    for (int t = 0; t < kTokens; ++t) {
      const Int8Block& a = x[t * blocks + b];
      for (int g = 0; g < 16; ++g) {
        std::int32_t dot = 0;
        for (int i = 16 * g; i < 16 * g + 16; ++i) dot += code[i] * a.code[i];
        const float weight = d * static_cast<float>(w[b].scales[g]);
        total[t] += weight * (a.scale[g] * static_cast<float>(dot) - 32.0f * a.offset[g]);
      }
    }
  }
  for (int t = 0; t < kTokens; ++t) out[t * out_stride] = total[t];
}

#endif

template <int kTokens>
void matvec_q6_k(const std::byte* w, std::int64_t weight_rows, std::int64_t dim, const std::byte* packed, float* out, std::int64_t out_stride) {
  const std::int64_t blocks = dim / kInt8Block;
  const auto* block = reinterpret_cast<const BlockQ6_K*>(w);
  for (std::int64_t n = 0; n < weight_rows; ++n)
    dot_q6_k<kTokens>(block + n * blocks, blocks, reinterpret_cast<const Int8Block*>(packed), out + n, out_stride);
}

}  // namespace crossover::cpu::CROSSOVER_ISA
