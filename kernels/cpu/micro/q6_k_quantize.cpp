// Q6_K quantizer: a lane is one of the sixteen groups of a block and a step is one of the sixteen weights of a group,
// so every lane adds in the order of the plain loop (kernels/formats/q6_k.cpp) and the bytes are the same. No operation
// contracts.
#include "kernels/cpu/micro/bytes.h"
#include "kernels/cpu/micro/format_rows.h"
#include "kernels/formats/blocks.h"
#include "kernels/formats/formats.h"

#if defined(__AVX2__)

namespace crossover::cpu::CROSSOVER_ISA {
namespace {

constexpr int kN = kQ6KGroupValues;

struct Block {
  F16 x[kN], w[kN], wx[kN];  // lane g: weight i of group g, its square, its cube
};

struct Fit {
  F16 sum_xq, sum_qq;
};

struct Search {
  F16 extreme;               // largest magnitude with its sign, the first of equals
  F16 inverse, scale, best;  // of the best candidate so far
};

// Which bounds of -32..31 a rounded code can pass. A candidate scales the extreme weight to -(32 + step / 10): up to
// step -6 no code leaves -31..31; up to step 4 none falls below -32.
enum class Clamp { kNone, kUpper, kBoth };

template <Clamp clamp>
CROSSOVER_INLINE F16 code_of(F16 scaled) {
  F16 q = nearest(scaled);
  if constexpr (clamp != Clamp::kNone) q = min(q, broadcast(31.0f));
  if constexpr (clamp == Clamp::kBoth) q = max(q, broadcast(-32.0f));
  return q;
}

// Two candidates at once hide the latency of the sums; three or four gained nothing with AVX-512 and spilled with AVX2.
template <Clamp clamp, int count>
CROSSOVER_INLINE void fit(const Block& block, const F16* inverse, Fit* fits) {
#pragma GCC unroll 2
  for (int c = 0; c < count; ++c) fits[c] = {zero(), zero()};
#pragma GCC unroll 16
  for (int i = 0; i < kN; ++i) {
#pragma GCC unroll 2
    for (int c = 0; c < count; ++c) {
      const F16 q = code_of<clamp>(inverse[c] * block.x[i]);
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

template <Clamp clamp, int... steps>
CROSSOVER_INLINE void try_steps(const Block& block, Search& search) {
  constexpr int kCount = sizeof...(steps);
  const F16 inverse[kCount] = {broadcast(-(32.0f + 0.1f * static_cast<float>(steps))) / search.extreme...};
  Fit fits[kCount];
  fit<clamp, kCount>(block, inverse, fits);
#pragma GCC unroll 2
  for (int c = 0; c < kCount; ++c) accept(search, inverse[c], fits[c]);
}

// Lanes whose group counts as zero hold junk afterwards.
CROSSOVER_INLINE void search_scales(const Block& block, Search& search) {
  const F16 inverse = broadcast(-32.0f) / search.extreme;
  Fit first;
  fit<Clamp::kUpper, 1>(block, &inverse, &first);
  const F16 scale = first.sum_xq / first.sum_qq;  // the extreme weight alone keeps the divisor from zero
  search = {search.extreme, inverse, scale, scale * first.sum_xq};
  try_steps<Clamp::kNone, -9, -8>(block, search);
  try_steps<Clamp::kNone, -7, -6>(block, search);
  try_steps<Clamp::kUpper, -5, -4>(block, search);
  try_steps<Clamp::kUpper, -3, -2>(block, search);
  try_steps<Clamp::kUpper, -1, 1>(block, search);
  try_steps<Clamp::kUpper, 2, 3>(block, search);
  try_steps<Clamp::kBoth, 4, 5>(block, search);
  try_steps<Clamp::kBoth, 6, 7>(block, search);
  try_steps<Clamp::kBoth, 8, 9>(block, search);
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
  is_zero = greater(broadcast(kQ6KZero), largest);
}

// Largest magnitude with its sign, the first of equals.
CROSSOVER_INLINE float extreme_scale(const float* scales) {
  float largest = 0.0f, extreme = 0.0f;
  for (int g = 0; g < kQ6KGroups; ++g) {
    const float magnitude = __builtin_fabsf(scales[g]);
    if (magnitude > largest) largest = magnitude, extreme = scales[g];
  }
  return extreme;
}

CROSSOVER_INLINE void quantize_block(const float* from, BlockQ6_K& out) {
  Block block;
  Search search;
  M16 is_zero;
  load_block(from, block, search, is_zero);
  search_scales(block, search);
  const F16 scales = select(is_zero, zero(), search.scale);
  alignas(64) float lanes[kQ6KGroups], inverses[kQ6KGroups];
  store(lanes, scales);
  const float extreme = extreme_scale(lanes);
  if (__builtin_fabsf(extreme) < kQ6KZero) {
    __builtin_memset(&out, 0, sizeof out);
    return;
  }
  const float inverse = -128.0f / extreme;
  out.d = f32_to_f16(1.0f / inverse);
  const float d = f16_to_f32(out.d);
  store_low_bytes(out.scales, min(nearest_int(broadcast(inverse) * scales), broadcast_i(127)));

  // A group whose scale became zero keeps the codes of the search: -32 (stored as 0) where the group itself is zero.
  store(inverses, search.inverse);
  const unsigned zeros = lane_bits(is_zero);
  alignas(64) std::uint8_t codes[256];
  for (int g = 0; g < kQ6KGroups; ++g) {
    const float step = d * static_cast<float>(out.scales[g]);
    const F16 x = load(from + kN * g);
    I16 code;
    if (step != 0.0f) [[likely]]
      code = code_0_to_63(x / broadcast(step));
    else
      code = zeros >> g & 1 ? broadcast_i(0) : code_0_to_63(x * broadcast(inverses[g]));
    store_low_bytes(codes + kN * g, code);
  }
  pack(codes, out);
}

}  // namespace

void quantize_q6_k(const float* from, std::byte* to, std::int64_t values) {
  auto* block = reinterpret_cast<BlockQ6_K*>(to);
  for (std::int64_t start = 0; start < values; start += 256, ++block) quantize_block(from + start, *block);
}

}  // namespace crossover::cpu::CROSSOVER_ISA

#endif
