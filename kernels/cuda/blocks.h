// Weights of every type as device code reads them: by quads of lanes, which is how a tensor core wants them.
//
// A unit is what four lanes (a quad: lanes 4g .. 4g + 3) unpack together from the same words: kGroups groups of sixteen values of a row; lane t of
// the quad receives values 4t .. 4t + 3 of each. In mma.m16n8k16 that lane holds columns 2t, 2t + 1 and 2t + 8, 2t + 9 of A, so the sixteen
// columns of a step stand for the sixteen values in another order ("quad order", quad_position), and activations are stored in that order too.
// Thereby a word of packed codes becomes fragments where it is read: no shuffle, no bf16 copy of a weight in shared memory.
// Blocks begin at any 2-byte address (a Q6_K block has 210 bytes), in shared or global memory.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/device.h"
#include "kernels/tensor.h"

namespace crossover::cuda {

inline constexpr int kGroupValues = 16;

// Where value `i` of sixteen lies in quad order.
__host__ __device__ constexpr int quad_position(int i) { return i / 4 * 2 + (i & 1) + (i & 2) * 4; }

// Values 4t, 4t + 1 (low) and 4t + 2, 4t + 3 (high) of a group as pairs of bf16.
struct Quad { unsigned low, high; };

__device__ __forceinline__ unsigned half_word(const std::byte* at) { return *reinterpret_cast<const std::uint16_t*>(at); }
__device__ __forceinline__ unsigned word(const std::byte* at) { return half_word(at) | half_word(at + 2) << 16; }
__device__ __forceinline__ float half_at(const std::byte* at) { return to_float(Half{*reinterpret_cast<const std::uint16_t*>(at)}); }

// Four codes below 128, a byte each, as bf16 of 128 + code: the code is the mantissa, so one byte permutation makes a pair.
inline constexpr float kCodeBias = 128;
__device__ __forceinline__ Quad biased_codes(unsigned codes) { return {__byte_perm(codes, 0x43434343u, 0x4140), __byte_perm(codes, 0x43434343u, 0x4342)}; }

// Per type: values and bytes of a block, how many groups a unit has, and
//   first(unit, group)                  the value of the block with which a group begins; a block has kUnits units
//   read(block, unit, t, packed)        what lane t of a quad keeps of a unit: a Packed per group
//   code(packed)                        exact in bf16 (but for halves): weight = factor * (code + kOffset) + minimum, with
//   factor(block, unit, group), minimum(block)
//   weight(packed, block, unit, group)  the same weights rounded to bf16
//   value(block, i)                     weight i in f32, the bits of the reference
// A block of the plain types is a unit of 32 values; read asks for an 8-byte address there.
template <DType kType>
struct Blocks;

template <>
struct Blocks<DType::kQ6_K> {
  static constexpr int kValues = 256, kBytes = 210, kUnits = 4, kGroups = 4;
  static constexpr float kOffset = -(kCodeBias + 32);
  static constexpr bool kHasMinimum = false;
  using Packed = unsigned;  // a byte per code

  __host__ __device__ static constexpr int first(int unit, int group) { return unit / 2 * 128 + unit % 2 * 16 + group * 32; }

  __device__ __forceinline__ static void read(const std::byte* block, int unit, int t, Packed (&out)[kGroups]) {
    const std::byte* const low = block + unit / 2 * 64 + unit % 2 * 16 + 4 * t;
    const unsigned low_0 = word(low), low_1 = word(low + 32), high = word(block + 128 + unit / 2 * 32 + unit % 2 * 16 + 4 * t);
    out[0] = (low_0 & 0x0f0f0f0fu) | (high << 4 & 0x30303030u);
    out[1] = (low_1 & 0x0f0f0f0fu) | (high << 2 & 0x30303030u);
    out[2] = (low_0 >> 4 & 0x0f0f0f0fu) | (high & 0x30303030u);
    out[3] = (low_1 >> 4 & 0x0f0f0f0fu) | (high >> 2 & 0x30303030u);
  }
  __device__ __forceinline__ static Quad code(Packed packed) { return biased_codes(packed); }
  __device__ __forceinline__ static float factor(const std::byte* block, int unit, int group) {
    return half_at(block + 208) * static_cast<float>(reinterpret_cast<const std::int8_t*>(block)[192 + unit / 2 * 8 + unit % 2 + group * 2]);
  }
  __device__ __forceinline__ static float minimum(const std::byte*) { return 0; }
  // code - 32 is exact; its scale and then the product are rounded to bf16, a relative 2^-9 each beside the 6 bits of the code.
  __device__ __forceinline__ static Quad weight(Packed packed, const std::byte* block, int unit, int group) {
    constexpr unsigned kOne = 0x3f803f80u, kMinus160 = 0xc320c320u, kMinusZero = 0x80008000u;
    const float s = factor(block, unit, group);
    const unsigned both = pack_bf16(s, s);
    const Quad q = code(packed);
    return {fma_bf16_pairs(fma_bf16_pairs(q.low, kOne, kMinus160), both, kMinusZero), fma_bf16_pairs(fma_bf16_pairs(q.high, kOne, kMinus160), both, kMinusZero)};
  }
  __device__ __forceinline__ static float value(const std::byte* block, int i) {
    const auto byte = [&](int at) { return static_cast<int>(reinterpret_cast<const std::uint8_t*>(block)[at]); };
    const int half = i / 128, quarter = i % 128 / 32, l = i % 32;
    const int low = byte(64 * half + 32 * (quarter & 1) + l) >> (quarter >= 2 ? 4 : 0) & 15, high = byte(128 + 32 * half + l) >> 2 * quarter & 3;
    const float s = __fmul_rn(half_at(block + 208), static_cast<float>(reinterpret_cast<const std::int8_t*>(block)[192 + i / 16]));
    return __fmul_rn(s, static_cast<float>((low | high << 4) - 32));
  }
};

// Blocks of 32 values under one f16 scale and, where kMinimum, an f16 minimum; codes of 4 or 5 bits, or whole bytes (Q8_0).
template <int kBytesOfBlock, bool kMinimum, bool kFifthBit>
struct NibbleBlocks {
  static constexpr int kValues = 32, kBytes = kBytesOfBlock, kUnits = 1, kGroups = 2;
  using Packed = unsigned;
  static constexpr bool kHasMinimum = kMinimum;
  static constexpr int kBitsAt = kMinimum ? 4 : 2, kCodesAt = kBitsAt + (kFifthBit ? 4 : 0), kMiddle = kMinimum ? 0 : kFifthBit ? 16 : 8;
  static constexpr float kOffset = -(kCodeBias + kMiddle);

  __host__ __device__ static constexpr int first(int, int group) { return group * 16; }

  __device__ __forceinline__ static void read(const std::byte* block, int, int t, Packed (&out)[kGroups]) {
    const unsigned codes = word(block + kCodesAt + 4 * t);
    out[0] = codes & 0x0f0f0f0fu, out[1] = codes >> 4 & 0x0f0f0f0fu;
    if constexpr (kFifthBit) {
      const unsigned fifth = word(block + kBitsAt) >> 4 * t;
      // Bits 0..3 to bit 4 of bytes 0..3: the factor shifts bit i to 8 i, and no two sums meet.
      out[0] |= ((fifth & 0xfu) * 0x00204081u & 0x01010101u) << 4;
      out[1] |= ((fifth >> 16 & 0xfu) * 0x00204081u & 0x01010101u) << 4;
    }
  }
  __device__ __forceinline__ static Quad code(Packed packed) { return biased_codes(packed); }
  __device__ __forceinline__ static float factor(const std::byte* block, int, int) { return half_at(block); }
  __device__ __forceinline__ static float minimum(const std::byte* block) { return half_at(block + 2); }
  __device__ __forceinline__ static Quad weight(Packed packed, const std::byte* block, int, int) {
    const float d = half_at(block), minimum = kMinimum ? half_at(block + 2) : -kMiddle * d;
    const auto one = [&](int j) { return fmaf(d, static_cast<float>(packed >> 8 * j & 0xffu), minimum); };
    return {pack_bf16(one(0), one(1)), pack_bf16(one(2), one(3))};
  }
  __device__ __forceinline__ static float value(const std::byte* block, int i) {
    const auto byte = [&](int at) { return static_cast<int>(reinterpret_cast<const std::uint8_t*>(block)[at]); };
    int code = byte(kCodesAt + i % 16) >> (i >= 16 ? 4 : 0) & 15;
    if constexpr (kFifthBit) code |= (byte(kBitsAt + i / 8) >> i % 8 & 1) << 4;
    const float product = __fmul_rn(half_at(block), static_cast<float>(code - kMiddle));
    return kMinimum ? __fadd_rn(product, half_at(block + 2)) : product;
  }
};
template <> struct Blocks<DType::kQ4_0> : NibbleBlocks<18, false, false> {};
template <> struct Blocks<DType::kQ4_1> : NibbleBlocks<20, true, false> {};
template <> struct Blocks<DType::kQ5_0> : NibbleBlocks<22, false, true> {};
template <> struct Blocks<DType::kQ5_1> : NibbleBlocks<24, true, true> {};

template <>
struct Blocks<DType::kQ8_0> {
  static constexpr int kValues = 32, kBytes = 34, kUnits = 1, kGroups = 2;
  static constexpr float kOffset = 0;
  static constexpr bool kHasMinimum = false;
  using Packed = unsigned;

  __host__ __device__ static constexpr int first(int, int group) { return group * 16; }

  __device__ __forceinline__ static void read(const std::byte* block, int, int t, Packed (&out)[kGroups]) {
    out[0] = word(block + 2 + 4 * t), out[1] = word(block + 18 + 4 * t);
  }
  __device__ __forceinline__ static Quad scaled(Packed packed, float scale) {
    const auto one = [&](int j) { return scale * static_cast<float>(static_cast<std::int8_t>(packed >> 8 * j)); };
    return {pack_bf16(one(0), one(1)), pack_bf16(one(2), one(3))};
  }
  __device__ __forceinline__ static Quad code(Packed packed) { return scaled(packed, 1); }
  __device__ __forceinline__ static float factor(const std::byte* block, int, int) { return half_at(block); }
  __device__ __forceinline__ static float minimum(const std::byte*) { return 0; }
  __device__ __forceinline__ static Quad weight(Packed packed, const std::byte* block, int, int) { return scaled(packed, half_at(block)); }
  __device__ __forceinline__ static float value(const std::byte* block, int i) {
    return __fmul_rn(half_at(block), static_cast<float>(reinterpret_cast<const std::int8_t*>(block)[2 + i]));
  }
};

template <DType kType>
struct PlainBlocks {
  static constexpr int kValues = 32, kBytes = 64, kUnits = 1, kGroups = 2;
  static constexpr float kOffset = 0;
  static constexpr bool kHasMinimum = false;
  using Packed = uint2;

  __host__ __device__ static constexpr int first(int, int group) { return group * 16; }

  __device__ __forceinline__ static void read(const std::byte* block, int, int t, Packed (&out)[kGroups]) {
    out[0] = *reinterpret_cast<const uint2*>(block + 8 * t), out[1] = *reinterpret_cast<const uint2*>(block + 32 + 8 * t);
  }
  // Halves are rounded to bf16: the range of activations rules out products of halves.
  __device__ __forceinline__ static unsigned rounded(unsigned pair) {
    return pack_bf16(to_float(Half{static_cast<std::uint16_t>(pair)}), to_float(Half{static_cast<std::uint16_t>(pair >> 16)}));
  }
  __device__ __forceinline__ static Quad code(Packed packed) {
    if constexpr (kType == DType::kF16) return {rounded(packed.x), rounded(packed.y)};
    else return {packed.x, packed.y};
  }
  __device__ __forceinline__ static float factor(const std::byte*, int, int) { return 1; }
  __device__ __forceinline__ static float minimum(const std::byte*) { return 0; }
  __device__ __forceinline__ static Quad weight(Packed packed, const std::byte*, int, int) { return code(packed); }
  __device__ __forceinline__ static float value(const std::byte* block, int i) {
    const std::uint16_t bits = reinterpret_cast<const std::uint16_t*>(block)[i];
    if constexpr (kType == DType::kF16) return to_float(Half{bits});
    else return to_float(Bf16{bits});
  }
};
template <> struct Blocks<DType::kF16> : PlainBlocks<DType::kF16> {};
template <> struct Blocks<DType::kBF16> : PlainBlocks<DType::kBF16> {};

// f32 weights are multiplied in f32 (f32_matmul.cu); only single values are read.
template <>
struct Blocks<DType::kF32> {
  static constexpr int kValues = 32, kBytes = 128;
  __device__ __forceinline__ static float value(const std::byte* block, int i) { return reinterpret_cast<const float*>(block)[i]; }
};

// Value k of a row; rows of the plain types may have any length.
template <DType kType>
__device__ __forceinline__ float value_at(const std::byte* row, std::int64_t k) {
  using B = Blocks<kType>;
  return B::value(row + k / B::kValues * B::kBytes, static_cast<int>(k % B::kValues));
}

// Whether units of `weight` can be read: whole blocks, at addresses that its type asks for.
inline bool in_units(const Tensor& weight) {
  if (weight.dtype == DType::kF32) return false;
  if (is_block_format(weight.dtype)) return true;
  return weight.cols() % 32 == 0 && reinterpret_cast<std::uintptr_t>(weight.data) % 8 == 0;
}

// Host: dispatch(type, [&]<DType kType>() { ... }).
template <class Body>
void dispatch(DType type, const Body& body) {
  switch (type) {
    case DType::kF32: return body.template operator()<DType::kF32>();
    case DType::kF16: return body.template operator()<DType::kF16>();
    case DType::kBF16: return body.template operator()<DType::kBF16>();
    case DType::kQ8_0: return body.template operator()<DType::kQ8_0>();
    case DType::kQ6_K: return body.template operator()<DType::kQ6_K>();
    case DType::kQ4_0: return body.template operator()<DType::kQ4_0>();
    case DType::kQ4_1: return body.template operator()<DType::kQ4_1>();
    case DType::kQ5_0: return body.template operator()<DType::kQ5_0>();
    case DType::kQ5_1: return body.template operator()<DType::kQ5_1>();
  }
}

}  // namespace crossover::cuda
