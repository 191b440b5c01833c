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

template <class Block>
CROSSOVER_INLINE int fifth_bit(const Block& block, int weight) {
  if constexpr (requires { block.qh; }) return static_cast<int>(block.qh >> weight & 1u) << 4;
  return 0;
}

// zero_code is subtracted (Q4_0, Q5_0); a block with a minimum (Q4_1, Q5_1) adds it instead.
template <class Block, int zero_code>
CROSSOVER_INLINE void dequantize_small(const std::byte* from, float* to, std::int64_t values) {
  const auto* block = reinterpret_cast<const Block*>(from);
  for (std::int64_t start = 0; start < values; start += 32, ++block) {
    alignas(64) std::int32_t codes[32];
    for (int j = 0; j < 16; ++j) {
      codes[j] = ((block->q[j] & 15) | fifth_bit(*block, j)) - zero_code;
      codes[j + 16] = (block->q[j] >> 4 | fifth_bit(*block, j + 16)) - zero_code;
    }
    const F16 d = broadcast(f16_to_f32(block->d));
    F16 first = to_float(load_i(codes)) * d, second = to_float(load_i(codes + 16)) * d;
    if constexpr (requires { block->m; }) {
      const F16 m = broadcast(f16_to_f32(block->m));
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
    const F16 d = broadcast(f16_to_f32(block->d));
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
    store(scales, broadcast(f16_to_f32(block->d)) * to_float(widen_i8(block->scales)));
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
