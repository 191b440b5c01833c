// Rows to f32. Bound by memory: a row is read once and four bytes a weight are written.
#include "kernels/cpu/micro/bytes.h"
#include "kernels/cpu/micro/format_rows.h"
#include "kernels/formats/blocks.h"
#include "kernels/formats/formats.h"

#if defined(__AVX2__)

namespace crossover::cpu::CROSSOVER_ISA {
namespace {

constexpr std::int64_t kLanes = 16;

// The last values % 16 of a row, by the plain conversion; block formats have none.
void dequantize_tail(DType type, const std::byte* from, float* to, std::int64_t values) {
  const std::int64_t whole = values / kLanes * kLanes;
  if (whole < values) dequantize_fn(type)(from + 2 * whole, to + whole, values - whole);
}

CROSSOVER_INLINE void unpack_half(const BlockQ6_K& block, int half, std::int8_t* codes) {
  const std::uint8_t* ql = block.ql + 64 * half;
  const std::uint8_t* qh = block.qh + 32 * half;
  for (int l = 0; l < 32; ++l) {
    codes[l] = static_cast<std::int8_t>(((ql[l] & 15) | (qh[l] & 3) << 4) - 32);
    codes[l + 32] = static_cast<std::int8_t>(((ql[l + 32] & 15) | (qh[l] >> 2 & 3) << 4) - 32);
    codes[l + 64] = static_cast<std::int8_t>((ql[l] >> 4 | (qh[l] >> 4 & 3) << 4) - 32);
    codes[l + 96] = static_cast<std::int8_t>((ql[l + 32] >> 4 | qh[l] >> 6 << 4) - 32);
  }
}

// Byte j is 16 where bit j is set.
CROSSOVER_INLINE __m256i fifth_bits(std::uint32_t qh) {
  const __m256i byte_of = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
  const __m256i bit_of = _mm256_set1_epi64x(static_cast<long long>(0x8040201008040201));
  const __m256i bytes = _mm256_shuffle_epi8(_mm256_set1_epi32(static_cast<int>(qh)), byte_of);
  return _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit_of), bit_of), _mm256_set1_epi8(16));
}

template <class Block>
CROSSOVER_INLINE __m256i small_codes(const Block& block) {
  const __m128i q = load_16_bytes(block.q);
  const __m256i nibbles = _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(q, 4), q), _mm256_set1_epi8(15));
  if constexpr (requires { block.qh; }) return _mm256_or_si256(nibbles, fifth_bits(block.qh));
  return nibbles;
}

// zero_code is subtracted (Q4_0, Q5_0); a block with a minimum (Q4_1, Q5_1) adds it instead.
template <class Block, int zero_code>
CROSSOVER_INLINE void dequantize_small(const std::byte* from, float* to, std::int64_t values) {
  const auto* block = reinterpret_cast<const Block*>(from);
  for (std::int64_t start = 0; start < values; start += 32, ++block) {
    alignas(32) std::int8_t codes[32];
    _mm256_store_si256(reinterpret_cast<__m256i*>(codes), _mm256_sub_epi8(small_codes(*block), _mm256_set1_epi8(zero_code)));
    const F16 d = broadcast(half_to_float(block->d));
    F16 first = to_float(widen_i8(codes)) * d, second = to_float(widen_i8(codes + 16)) * d;
    if constexpr (requires { block->m; }) {
      const F16 m = broadcast(half_to_float(block->m));
      first = first + m;
      second = second + m;
    }
    store(to + start, first);
    store(to + start + 16, second);
  }
}

}  // namespace

void dequantize_f16(const std::byte* from, float* to, std::int64_t values) {
  for (std::int64_t i = 0; i + kLanes <= values; i += kLanes) store(to + i, load_halves(from + 2 * i));
  dequantize_tail(DType::kF16, from, to, values);
}

void dequantize_bf16(const std::byte* from, float* to, std::int64_t values) {
  for (std::int64_t i = 0; i + kLanes <= values; i += kLanes)
    store(to + i, as_float(shift_left<16>(widen_u16(from + 2 * i))));
  dequantize_tail(DType::kBF16, from, to, values);
}

void dequantize_q8_0(const std::byte* from, float* to, std::int64_t values) {
  const auto* block = reinterpret_cast<const BlockQ8_0*>(from);
  for (std::int64_t start = 0; start < values; start += 32, ++block) {
    const F16 d = broadcast(half_to_float(block->d));
    store(to + start, to_float(widen_i8(block->q)) * d);
    store(to + start + 16, to_float(widen_i8(block->q + 16)) * d);
  }
}

void dequantize_q6_k(const std::byte* from, float* to, std::int64_t values) {
  const auto* block = reinterpret_cast<const BlockQ6_K*>(from);
  for (std::int64_t start = 0; start < values; start += 256, ++block) {
    alignas(64) std::int8_t codes[256];
    unpack_half(*block, 0, codes);
    unpack_half(*block, 1, codes + 128);
    alignas(64) float scales[kQ6KGroups];
    store(scales, broadcast(half_to_float(block->d)) * to_float(widen_i8(block->scales)));
    for (int g = 0; g < kQ6KGroups; ++g)
      store(to + start + 16 * g, broadcast(scales[g]) * to_float(widen_i8(codes + 16 * g)));
  }
}

void dequantize_q4_0(const std::byte* from, float* to, std::int64_t values) {
  dequantize_small<BlockQ4_0, 8>(from, to, values);
}
void dequantize_q4_1(const std::byte* from, float* to, std::int64_t values) {
  dequantize_small<BlockQ4_1, 0>(from, to, values);
}
void dequantize_q5_0(const std::byte* from, float* to, std::int64_t values) {
  dequantize_small<BlockQ5_0, 16>(from, to, values);
}
void dequantize_q5_1(const std::byte* from, float* to, std::int64_t values) {
  dequantize_small<BlockQ5_1, 0>(from, to, values);
}

}  // namespace crossover::cpu::CROSSOVER_ISA

#endif
