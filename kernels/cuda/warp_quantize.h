// Blocks of ggml's formats from 256 values that a warp holds (warp_row.h), four lanes to a block of 32. The bytes equal those of kernels/formats:
// every operation rounds once, nothing contracts, ties are decided by the order of the values. For .cu files.
#pragma once

#include "kernels/cuda/warp_row.h"
#include "kernels/formats/blocks.h"

namespace crossover::cuda {

// A code of 0 for what does not fit, as kernels/formats/rows.h has it.
__device__ __forceinline__ int truncated_code(float value) { return value > -256.0f && value < 256.0f ? static_cast<int>(value) : 0; }

// Where a block goes. Lanes past a row's ragged end shuffle with the others and store nothing.
struct BlockAt {
  std::uint8_t* at;
  bool inside = true;
};

// Blocks begin at even addresses, not at multiples of four.
__device__ __forceinline__ void store_2(const BlockAt& block, int offset, unsigned bits) {
  if (block.inside) *reinterpret_cast<std::uint16_t*>(block.at + offset) = static_cast<std::uint16_t>(bits);
}
__device__ __forceinline__ void store_half(const BlockAt& block, int offset, float value) { store_2(block, offset, to_half(value).bits); }
__device__ __forceinline__ void store_8(const BlockAt& block, int offset, const unsigned (&bytes)[2]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) store_2(block, offset + 2 * i, bytes[i / 2] >> i % 2 * 16);
}

__device__ __forceinline__ void quantize_q8_0(const float (&x)[kLaneValues], const BlockAt& block) {
  float largest = 0.0f;
#pragma unroll
  for (int j = 0; j < kLaneValues; ++j) largest = fmaxf(largest, fabsf(x[j]));
  largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, 1));
  largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, 2));
  const float d = __fdiv_rn(largest, 127.0f), inverse = d != 0.0f ? __fdiv_rn(1.0f, d) : 0.0f;
  unsigned codes[2] = {};
#pragma unroll
  for (int j = 0; j < kLaneValues; ++j)
    codes[j / 4] |= (static_cast<unsigned>(truncated_code(roundf(__fmul_rn(x[j], inverse)))) & 0xffu) << j % 4 * 8;
  const int part = lane_of_thread() % 4;
  if (part == 0) store_half(block, 0, d);
  store_8(block, 2 + part * kLaneValues, codes);
}

struct Extreme { float magnitude, value; };

// The value of largest magnitude over 2 * last lanes, the first of equals.
__device__ __forceinline__ Extreme first_extreme(Extreme mine, int first, int last) {
  for (int lanes = first; lanes <= last; lanes *= 2) {
    const Extreme other{__shfl_xor_sync(kAllLanes, mine.magnitude, lanes), __shfl_xor_sync(kAllLanes, mine.value, lanes)};
    const bool before = lane_of_thread() & lanes;
    if (other.magnitude > mine.magnitude || (before && other.magnitude == mine.magnitude)) mine = other;
  }
  return mine;
}

// This lane's codes, and what all four lanes of the block share.
struct LaneCodes {
  float d, m;
  int q[kLaneValues];
};

template <int kBits>
__device__ __forceinline__ void symmetric_codes(const float (&x)[kLaneValues], LaneCodes& to) {
  constexpr int kHalf = 1 << (kBits - 1), kLast = 2 * kHalf - 1;
  Extreme extreme{0.0f, 0.0f};
#pragma unroll
  for (int j = 0; j < kLaneValues; ++j)
    if (fabsf(x[j]) > extreme.magnitude) extreme = {fabsf(x[j]), x[j]};
  extreme = first_extreme(extreme, 1, 2);
  to.d = __fdiv_rn(extreme.value, static_cast<float>(-kHalf));
  const float inverse = to.d != 0.0f ? __fdiv_rn(1.0f, to.d) : 0.0f;
#pragma unroll
  for (int j = 0; j < kLaneValues; ++j)
    to.q[j] = min(truncated_code(__fadd_rn(__fmul_rn(x[j], inverse), static_cast<float>(kHalf) + 0.5f)), kLast);
}

// Zeros of both signs are equal and the first of them stays: the order of the values decides which.
template <int kBits>
__device__ __forceinline__ void offset_codes(const float (&x)[kLaneValues], LaneCodes& to) {
  constexpr int kLast = (1 << kBits) - 1;
  float low = x[0], high = x[0];
#pragma unroll
  for (int j = 1; j < kLaneValues; ++j) {
    low = x[j] < low ? x[j] : low;
    high = x[j] > high ? x[j] : high;
  }
#pragma unroll
  for (int lanes = 1; lanes <= 2; lanes *= 2) {
    const float other_low = __shfl_xor_sync(kAllLanes, low, lanes), other_high = __shfl_xor_sync(kAllLanes, high, lanes);
    const bool before = lane_of_thread() & lanes;
    if (other_low < low || (before && other_low == low)) low = other_low;
    if (other_high > high || (before && other_high == high)) high = other_high;
  }
  to.d = __fdiv_rn(__fsub_rn(high, low), static_cast<float>(kLast));
  to.m = low;
  const float inverse = to.d != 0.0f ? __fdiv_rn(1.0f, to.d) : 0.0f;
#pragma unroll
  for (int j = 0; j < kLaneValues; ++j) to.q[j] = min(truncated_code(__fadd_rn(__fmul_rn(__fsub_rn(x[j], low), inverse), 0.5f)), kLast);
}

// Byte j holds the codes j (low) and j + 16 (high): the first two lanes of a block write what the last two hand them.
__device__ __forceinline__ void store_nibbles(const LaneCodes& codes, const BlockAt& block, int offset) {
  unsigned mine[2] = {};
#pragma unroll
  for (int j = 0; j < kLaneValues; ++j) mine[j / 4] |= (static_cast<unsigned>(codes.q[j]) & 15u) << j % 4 * 8;
  const unsigned other[2] = {__shfl_xor_sync(kAllLanes, mine[0], 2), __shfl_xor_sync(kAllLanes, mine[1], 2)};
  const int part = lane_of_thread() % 4;
  if (part < 2) store_8(block, offset + part * kLaneValues, {mine[0] | other[0] << 4, mine[1] | other[1] << 4});
}

__device__ __forceinline__ void store_fifth_bits(const LaneCodes& codes, const BlockAt& block, int offset) {
  const int part = lane_of_thread() % 4;
  unsigned bits = 0;
#pragma unroll
  for (int j = 0; j < kLaneValues; ++j) bits |= (static_cast<unsigned>(codes.q[j]) >> 4 & 1u) << (part * kLaneValues + j);
  bits |= __shfl_xor_sync(kAllLanes, bits, 1);
  bits |= __shfl_xor_sync(kAllLanes, bits, 2);
  if (part < 2) store_2(block, offset + 2 * part, bits >> 16 * part);
}

// block: of this lane's values. bits 4 or 5; offset: with a minimum.
template <int kBits, bool kOffset>
__device__ __forceinline__ void quantize_small(const float (&x)[kLaneValues], const BlockAt& block) {
  constexpr int kFifth = kOffset ? 4 : 2, kNibbles = kFifth + (kBits == 5 ? 4 : 0);
  LaneCodes codes;
  if constexpr (kOffset) offset_codes<kBits>(x, codes);
  else symmetric_codes<kBits>(x, codes);
  if (lane_of_thread() % 4 == 0) {
    store_half(block, 0, codes.d);
    if constexpr (kOffset) store_half(block, 2, codes.m);
  }
  if constexpr (kBits == 5) store_fifth_bits(codes, block, kFifth);
  store_nibbles(codes, block, kNibbles);
}

// ---- Q6_K: two lanes hold a group of 16, the warp a block; see kernels/formats/q6_k.cpp ----

__device__ __forceinline__ int nearest_code(float value) {
  return static_cast<int>(__float_as_uint(__fadd_rn(value, 12582912.0f)) & 0x7fffffu) - 0x400000;
}
// The sum of a NaN has other bits on a GPU than on the host, where code 0 comes of them. Overflows make some after the search, none within it.
__device__ __forceinline__ float not_nan(float value) { return value == value ? value : 0.0f; }
__device__ __forceinline__ int signed_code(float value) { return max(-32, min(31, nearest_code(value))); }

struct Fit { float sum_xq, sum_qq; };

// Sums in the order of the values, so each of the two lanes sums all sixteen.
__device__ __forceinline__ Fit fit_group(const float (&x)[kQ6KGroupValues], float inverse_scale) {
  Fit sums{0.0f, 0.0f};
#pragma unroll
  for (int i = 0; i < kQ6KGroupValues; ++i) {
    const float q = static_cast<float>(signed_code(__fmul_rn(inverse_scale, x[i]))), w = __fmul_rn(x[i], x[i]);
    sums.sum_xq = __fadd_rn(sums.sum_xq, __fmul_rn(__fmul_rn(w, x[i]), q));
    sums.sum_qq = __fadd_rn(sums.sum_qq, __fmul_rn(__fmul_rn(w, q), q));
  }
  return sums;
}

struct GroupScale { float scale, inverse; };  // inverse 0: the group counts as zero, its codes are 0

__device__ __forceinline__ GroupScale search_group(const float (&x)[kQ6KGroupValues]) {
  Extreme extreme{0.0f, 0.0f};
#pragma unroll
  for (int i = 0; i < kQ6KGroupValues; ++i)
    if (fabsf(x[i]) > extreme.magnitude) extreme = {fabsf(x[i]), x[i]};
  if (extreme.magnitude < kQ6KZero) return {0.0f, 0.0f};
  float chosen = __fdiv_rn(-32.0f, extreme.value);
  Fit sums = fit_group(x, chosen);
  float scale = sums.sum_qq != 0.0f ? __fdiv_rn(sums.sum_xq, sums.sum_qq) : 0.0f, best = __fmul_rn(scale, sums.sum_xq);
  for (int step = -9; step <= 9; ++step) {
    if (step == 0) continue;
    const float candidate = __fdiv_rn(-__fadd_rn(32.0f, __fmul_rn(0.1f, static_cast<float>(step))), extreme.value);
    sums = fit_group(x, candidate);
    if (sums.sum_qq > 0.0f && __fmul_rn(sums.sum_xq, sums.sum_xq) > __fmul_rn(best, sums.sum_qq)) {
      chosen = candidate;
      scale = __fdiv_rn(sums.sum_xq, sums.sum_qq);
      best = __fmul_rn(scale, sums.sum_xq);
    }
  }
  return {scale, chosen};
}

// codes: this lane's eight. The four quarters of a half lie four lanes apart.
__device__ __forceinline__ void store_q6_k(const int (&codes)[kLaneValues], const BlockAt& block) {
  const int lane = lane_of_thread(), half = lane / 16, quarter = lane / 4 % 4, at = lane % 4 * kLaneValues;
  unsigned low[2] = {}, high[2] = {};
#pragma unroll
  for (int j = 0; j < kLaneValues; ++j) {
    low[j / 4] |= (static_cast<unsigned>(codes[j]) & 15u) << j % 4 * 8;
    high[j / 4] |= (static_cast<unsigned>(codes[j]) >> 4) << (j % 4 * 8 + 2 * quarter);
  }
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    low[i] |= __shfl_xor_sync(kAllLanes, low[i], 8) << 4;  // of use to the first two quarters
    high[i] |= __shfl_xor_sync(kAllLanes, high[i], 4);
    high[i] |= __shfl_xor_sync(kAllLanes, high[i], 8);
  }
  if (quarter < 2) store_8(block, 64 * half + 32 * quarter + at, low);
  if (quarter == 0) store_8(block, 128 + 32 * half + at, high);
}

__device__ __forceinline__ void quantize_q6_k(const float (&x)[kLaneValues], const BlockAt& block) {
  constexpr int kScales = 192, kD = 208;
  const int lane = lane_of_thread();
  float group[kQ6KGroupValues];
#pragma unroll
  for (int j = 0; j < kLaneValues; ++j) {
    const float other = __shfl_xor_sync(kAllLanes, x[j], 1);
    group[j] = lane & 1 ? other : x[j], group[j + kLaneValues] = lane & 1 ? x[j] : other;
  }
  const GroupScale found = search_group(group);
  const Extreme extreme = first_extreme({not_nan(fabsf(found.scale)), not_nan(found.scale)}, 2, 16);
  const bool zero = extreme.magnitude < kQ6KZero;
  const float inverse = __fdiv_rn(-128.0f, extreme.value), d = __fdiv_rn(1.0f, inverse);
  const int scale = zero ? 0 : min(nearest_code(not_nan(__fmul_rn(inverse, found.scale))), 127);
  const float step = __fmul_rn(to_float(to_half(d)), static_cast<float>(static_cast<std::int8_t>(scale)));
  int codes[kLaneValues];
#pragma unroll
  for (int j = 0; j < kLaneValues; ++j) {
    const int searched = found.inverse != 0.0f ? signed_code(__fmul_rn(found.inverse, x[j])) + 32 : 0;
    codes[j] = zero ? 0 : step == 0.0f ? searched : signed_code(not_nan(__fdiv_rn(x[j], step))) + 32;
  }
  store_q6_k(codes, block);
  if (lane % 2 == 0) block.at[kScales + lane / 2] = static_cast<std::uint8_t>(scale);
  if (lane == 0) store_half(block, kD, zero ? 0.0f : d);
}

}  // namespace crossover::cuda
