// Q6_K quantizer: a lane is one of the sixteen groups of a block and a step is one of the sixteen weights of a group,
// so every lane adds in the order of the plain loop (kernels/formats/q6_k.cpp) and the bytes are the same. No operation
// contracts.
#include "kernels/cpu/micro/bytes.h"
#include "kernels/cpu/micro/format_rows.h"
#include "kernels/formats/blocks.h"

#if defined(__AVX2__)

namespace crossover::cpu::CROSSOVER_ISA {
namespace {

constexpr int kN = kQ6KGroupValues;

// A code q = round(inverse * x) is held to -32..31, which costs two operations per candidate and weight. Clipping x once instead
// gives the same codes: candidate `step` scales the extreme weight to -(32 + step / 10), so a weight beyond the limits below
// rounds to -32 (on the side of the extreme one) or 31 (on the other) both as it is, once held, and as it is clipped. The limits
// are fractions of the extreme weight, each at least 0.03 of a code from where a code would change.
struct Limits {
  float same, other;
};
constexpr Limits kLow{1.0f, -0.978f};     // steps -5 .. -1; below -5 no code leaves -31..31
constexpr Limits kHigh{0.986f, -0.9565f};  // steps 0 .. 9

struct Block {
  F16 x[kN], low[kN], high[kN];  // lane g: weight i of group g, as it is and clipped
  F16 w[kN], wx[kN];             // its square, its cube
};

struct Fit {
  F16 sum_xq, sum_qq;
};

struct Search {
  F16 extreme;               // largest magnitude with its sign, the first of equals
  F16 inverse, scale, best;  // of the best candidate so far
};

template <int step>
CROSSOVER_INLINE const F16* weights(const Block& block) {
  return step < -5 ? block.x : step < 0 ? block.low : block.high;
}

// Two candidates at once hide the latency of the sums; three or four gained under 1 % with AVX-512 and lost with AVX2. Unrolled,
// GCC 12 moves the multiplications of all i to the front and spills: a third slower with AVX2.
template <int... steps>
CROSSOVER_INLINE void fit(const Block& block, const F16* inverse, Fit* fits) {
  constexpr int kCount = sizeof...(steps);
  const F16* const x[kCount] = {weights<steps>(block)...};
#pragma GCC unroll 2
  for (int c = 0; c < kCount; ++c) fits[c] = {zero(), zero()};
#pragma GCC unroll 1
  for (int i = 0; i < kN; ++i) {
#pragma GCC unroll 2
    for (int c = 0; c < kCount; ++c) {
      const F16 q = nearest(inverse[c] * x[c][i]);
      fits[c].sum_xq = fits[c].sum_xq + block.wx[i] * q;
      fits[c].sum_qq = fits[c].sum_qq + block.w[i] * q * q;
    }
  }
}

CROSSOVER_INLINE void accept(Search& search, F16 inverse, const Fit& fit) {
  const M16 better = greater(fit.sum_qq, zero()) & greater(fit.sum_xq * fit.sum_xq, search.best * fit.sum_qq);
  const F16 scale = fit.sum_xq / fit.sum_qq;
  search.inverse = select(better, inverse, search.inverse);
  search.scale = select(better, scale, search.scale);
  search.best = select(better, scale * fit.sum_xq, search.best);
}

template <int... steps>
CROSSOVER_INLINE void try_steps(const Block& block, Search& search) {
  constexpr int kCount = sizeof...(steps);
  const F16 inverse[kCount] = {broadcast(-(32.0f + 0.1f * static_cast<float>(steps))) / search.extreme...};
  Fit fits[kCount];
  fit<steps...>(block, inverse, fits);
#pragma GCC unroll 2
  for (int c = 0; c < kCount; ++c) accept(search, inverse[c], fits[c]);
}

// Lanes whose group counts as zero hold junk afterwards.
CROSSOVER_INLINE void search_scales(const Block& block, Search& search) {
  const F16 inverse = broadcast(-32.0f) / search.extreme;
  Fit first;
  fit<0>(block, &inverse, &first);
  const F16 scale = first.sum_xq / first.sum_qq;  // the extreme weight alone keeps the divisor from zero
  search = {search.extreme, inverse, scale, scale * first.sum_xq};
  try_steps<-9, -8>(block, search);
  try_steps<-7, -6>(block, search);
  try_steps<-5, -4>(block, search);
  try_steps<-3, -2>(block, search);
  try_steps<-1, 1>(block, search);
  try_steps<2, 3>(block, search);
  try_steps<4, 5>(block, search);
  try_steps<6, 7>(block, search);
  try_steps<8, 9>(block, search);
}

// Half to even, and past 2^22 the same bits as the plain loop.
CROSSOVER_INLINE I16 nearest_int(F16 x) {
  return (as_int(x + broadcast(12582912.0f)) & broadcast_i(0x7fffff)) - broadcast_i(0x400000);
}
CROSSOVER_INLINE I16 code_0_to_63(F16 x) {
  return max(min(nearest_int(x), broadcast_i(31)), broadcast_i(-32)) + broadcast_i(32);
}

CROSSOVER_INLINE void pack(const std::uint8_t* codes, BlockQ6_K& out) {
  for (int half = 0; half < 2; ++half) {
    const std::uint8_t* c = codes + 128 * half;
    for (int l = 0; l < 32; ++l) {
      out.ql[64 * half + l] = static_cast<std::uint8_t>((c[l] & 15) | (c[l + 64] & 15) << 4);
      out.ql[64 * half + 32 + l] = static_cast<std::uint8_t>((c[l + 32] & 15) | (c[l + 96] & 15) << 4);
      out.qh[32 * half + l] =
          static_cast<std::uint8_t>(c[l] >> 4 | c[l + 32] >> 4 << 2 | c[l + 64] >> 4 << 4 | c[l + 96] >> 4 << 6);
    }
  }
}

CROSSOVER_INLINE void clip(const F16* x, F16 extreme, Limits limits, F16* clipped) {
  const F16 same = broadcast(limits.same) * extreme, other = broadcast(limits.other) * extreme;
  const F16 low = min(same, other), high = max(same, other);
  for (int i = 0; i < kN; ++i) clipped[i] = min(max(x[i], low), high);
}

CROSSOVER_INLINE void load_block(const float* from, Block& block, Search& search, M16& is_zero) {
  transpose(from, block.x);
  F16 largest = zero();
  search.extreme = zero();
  for (int i = 0; i < kN; ++i) {
    const F16 x = block.x[i], magnitude = abs(x);
    const M16 larger = greater(magnitude, largest);
    largest = max(magnitude, largest);
    search.extreme = select(larger, x, search.extreme);
    block.w[i] = x * x;
    block.wx[i] = block.w[i] * x;
  }
  clip(block.x, search.extreme, kLow, block.low);
  clip(block.x, search.extreme, kHigh, block.high);
  is_zero = greater(broadcast(kQ6KZero), largest);
}

// Largest magnitude with its sign, the first of equals. A group of huge weights may have NaN for a scale; it does not count.
CROSSOVER_INLINE float extreme_scale(F16 scales) {
  const F16 counted = select(equal(scales, scales), scales, zero());
  alignas(64) float lanes[kQ6KGroups];
  store(lanes, counted);
  return lanes[__builtin_ctz(lane_bits(equal(abs(counted), broadcast(max_lane(abs(counted))))))];
}

// A group whose scale became zero keeps the codes of the search: -32 (stored as 0) where the group itself is zero.
CROSSOVER_INLINE void keep_codes(const float* from, const float* steps, const Search& search, M16 is_zero, std::uint8_t* codes) {
  const unsigned zeros = lane_bits(is_zero);
  alignas(64) float inverses[kQ6KGroups];
  store(inverses, search.inverse);
  for (int g = 0; g < kQ6KGroups; ++g) {
    if (steps[g] != 0.0f) continue;
    const F16 scaled = load(from + kN * g) * broadcast(inverses[g]);
    store_low_bytes(codes + kN * g, zeros >> g & 1 ? broadcast_i(0) : code_0_to_63(scaled));
  }
}

CROSSOVER_INLINE void quantize_block(const float* from, BlockQ6_K& out) {
  Block block;
  Search search;
  M16 is_zero;
  load_block(from, block, search, is_zero);
  search_scales(block, search);
  const F16 scales = select(is_zero, zero(), search.scale);
  const float extreme = extreme_scale(scales);
  if (__builtin_fabsf(extreme) < kQ6KZero) {
    __builtin_memset(&out, 0, sizeof out);
    return;
  }
  const float inverse = -128.0f / extreme;
  out.d = float_to_half(1.0f / inverse);
  store_low_bytes(out.scales, min(nearest_int(broadcast(inverse) * scales), broadcast_i(127)));

  const F16 step = broadcast(half_to_float(out.d)) * to_float(widen_i8(out.scales));
  alignas(64) float steps[kQ6KGroups];
  store(steps, step);
  alignas(64) std::uint8_t codes[256];
  for (int g = 0; g < kQ6KGroups; ++g)
    store_low_bytes(codes + kN * g, code_0_to_63(load(from + kN * g) / broadcast(steps[g])));
  if (any(equal(step, zero()))) [[unlikely]]
    keep_codes(from, steps, search, is_zero, codes);
  pack(codes, out);
}

}  // namespace

void quantize_q6_k(const float* from, std::byte* to, std::int64_t values) {
  auto* block = reinterpret_cast<BlockQ6_K*>(to);
  for (std::int64_t start = 0; start < values; start += 256, ++block) quantize_block(from + start, *block);
}

}  // namespace crossover::cpu::CROSSOVER_ISA

#endif
