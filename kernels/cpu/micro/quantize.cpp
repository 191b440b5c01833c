// f32 rows to the types with one scale per 32 weights, and to f16 and bf16. Q6_K has its own file.
#include "kernels/cpu/micro/bytes.h"
#include "kernels/cpu/micro/format_rows.h"
#include "kernels/formats/blocks.h"
#include "kernels/formats/formats.h"

#if defined(__AVX2__)

namespace crossover::cpu::CROSSOVER_ISA {
namespace {

constexpr std::int64_t kLanes = 16;
constexpr float kLargestFinite = 0x1.fffffep127f;

void quantize_tail(DType type, const float* from, std::byte* to, std::int64_t values) {
  const std::int64_t whole = values / kLanes * kLanes;
  if (whole < values) quantize_fn(type)(from + whole, to + 2 * whole, values - whole);
}

CROSSOVER_INLINE float min_lane(F16 x) { return -max_lane(zero() - x); }

// The first of 32 values that equals `wanted`, which one of them does: +0 and -0 differ in the bytes.
CROSSOVER_INLINE float first_equal(const float* x, F16 first, F16 second, float wanted) {
  const F16 w = broadcast(wanted);
  return x[__builtin_ctz(lane_bits(equal(first, w)) | lane_bits(equal(second, w)) << 16)];
}

CROSSOVER_INLINE void store_codes(std::uint8_t* codes, F16 first, F16 second, int last) {
  store_low_bytes(codes, min(truncate(first), broadcast_i(last)));
  store_low_bytes(codes + 16, min(truncate(second), broadcast_i(last)));
}

CROSSOVER_INLINE void pack_nibbles(const std::uint8_t* codes, std::uint8_t* q) {
  for (int j = 0; j < 16; ++j) q[j] = static_cast<std::uint8_t>((codes[j] & 15) | (codes[j + 16] & 15) << 4);
}

CROSSOVER_INLINE std::uint32_t fifth_bits(const std::uint8_t* codes) {
  return static_cast<std::uint32_t>(_mm256_movemask_epi8(_mm256_slli_epi16(load_32_bytes(codes), 3)));
}

// False where 1/d overflows, or d itself: the plain loop then says what the codes are.
template <class Block, int bits>
CROSSOVER_INLINE bool symmetric_codes(const float* x, Block& block, std::uint8_t* codes) {
  constexpr int kHalf = 1 << (bits - 1);
  const F16 first = load(x), second = load(x + 16);
  const float largest = max_lane(max(abs(first), abs(second)));
  const float extreme = largest == 0.0f ? 0.0f : first_equal(x, abs(first), abs(second), largest);
  const float d = extreme / static_cast<float>(-kHalf);
  const float inverse = d != 0.0f ? 1.0f / d : 0.0f;
  if (!(__builtin_fabsf(inverse) <= kLargestFinite)) return false;
  const F16 factor = broadcast(inverse), offset = broadcast(static_cast<float>(kHalf) + 0.5f);
  block.d = float_to_half(d);
  store_codes(codes, first * factor + offset, second * factor + offset, 2 * kHalf - 1);
  return true;
}

template <class Block, int bits>
CROSSOVER_INLINE bool offset_codes(const float* x, Block& block, std::uint8_t* codes) {
  constexpr int kLast = (1 << bits) - 1;
  const F16 first = load(x), second = load(x + 16);
  const float low = first_equal(x, first, second, min_lane(min(first, second)));
  const float high = first_equal(x, first, second, max_lane(max(first, second)));
  const float d = (high - low) / static_cast<float>(kLast);
  const float inverse = d != 0.0f ? 1.0f / d : 0.0f;
  if (!(d <= kLargestFinite && inverse <= kLargestFinite)) return false;
  const F16 factor = broadcast(inverse), base = broadcast(low), half = broadcast(0.5f);
  block.d = float_to_half(d);
  block.m = float_to_half(low);
  store_codes(codes, (first - base) * factor + half, (second - base) * factor + half, kLast);
  return true;
}

template <class Block, DType type, bool (*to_codes)(const float*, Block&, std::uint8_t*)>
CROSSOVER_INLINE void quantize_small(const float* from, std::byte* to, std::int64_t values) {
  auto* block = reinterpret_cast<Block*>(to);
  for (std::int64_t start = 0; start < values; start += 32, ++block) {
    alignas(32) std::uint8_t codes[32];
    if (!to_codes(from + start, *block, codes)) {
      quantize_fn(type)(from + start, reinterpret_cast<std::byte*>(block), 32);
      continue;
    }
    if constexpr (requires { block->qh; }) block->qh = fifth_bits(codes);
    pack_nibbles(codes, block->q);
  }
}

// Half away from zero, for magnitudes below 2^23.
CROSSOVER_INLINE I16 round_away(F16 x) {
  const I16 whole = truncate(x);
  const F16 rest = x - to_float(whole);
  const I16 up = select(greater(broadcast(0.5f), rest), broadcast_i(0), broadcast_i(1));
  const I16 down = select(greater(rest, broadcast(-0.5f)), broadcast_i(0), broadcast_i(-1));
  return whole + up + down;
}

// Narrows a NaN quietly, as the plain conversion does.
CROSSOVER_INLINE I16 bf16_bits(F16 x) {
  const I16 bits = as_int(x), high = shift_right_logical<16>(bits);
  const I16 rounded = shift_right_logical<16>(bits + broadcast_i(0x7fff) + (high & broadcast_i(1)));
  const I16 quiet = (high & broadcast_i(0xffbf)) + broadcast_i(0x40);
  return select(equal(x, x), rounded, quiet);
}

}  // namespace

void quantize_f16(const float* from, std::byte* to, std::int64_t values) {
  for (std::int64_t i = 0; i + kLanes <= values; i += kLanes) store_halves(to + 2 * i, load(from + i));
  quantize_tail(DType::kF16, from, to, values);
}

void quantize_bf16(const float* from, std::byte* to, std::int64_t values) {
  for (std::int64_t i = 0; i + kLanes <= values; i += kLanes) store_low_halves(to + 2 * i, bf16_bits(load(from + i)));
  quantize_tail(DType::kBF16, from, to, values);
}

void quantize_q8_0(const float* from, std::byte* to, std::int64_t values) {
  auto* block = reinterpret_cast<BlockQ8_0*>(to);
  for (std::int64_t start = 0; start < values; start += 32, ++block) {
    const F16 first = load(from + start), second = load(from + start + 16);
    const float d = max_lane(max(abs(first), abs(second))) / 127.0f;
    const float inverse = d != 0.0f ? 1.0f / d : 0.0f;
    if (!(inverse <= kLargestFinite)) {
      quantize_fn(DType::kQ8_0)(from + start, reinterpret_cast<std::byte*>(block), 32);
      continue;
    }
    block->d = float_to_half(d);
    store_low_bytes(block->q, round_away(first * broadcast(inverse)));
    store_low_bytes(block->q + 16, round_away(second * broadcast(inverse)));
  }
}

void quantize_q4_0(const float* from, std::byte* to, std::int64_t values) {
  quantize_small<BlockQ4_0, DType::kQ4_0, symmetric_codes<BlockQ4_0, 4>>(from, to, values);
}
void quantize_q4_1(const float* from, std::byte* to, std::int64_t values) {
  quantize_small<BlockQ4_1, DType::kQ4_1, offset_codes<BlockQ4_1, 4>>(from, to, values);
}
void quantize_q5_0(const float* from, std::byte* to, std::int64_t values) {
  quantize_small<BlockQ5_0, DType::kQ5_0, symmetric_codes<BlockQ5_0, 5>>(from, to, values);
}
void quantize_q5_1(const float* from, std::byte* to, std::int64_t values) {
  quantize_small<BlockQ5_1, DType::kQ5_1, offset_codes<BlockQ5_1, 5>>(from, to, values);
}

}  // namespace crossover::cpu::CROSSOVER_ISA

#endif
