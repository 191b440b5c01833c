// Eight consecutive values of a cache row, of any type; blocks may begin at any even address. For .cu files.
#pragma once

#include "kernels/cuda/warp_row.h"
#include "kernels/formats/blocks.h"
#include "kernels/tensor.h"

namespace crossover::cuda {

__device__ __forceinline__ unsigned load_2(const std::uint8_t* from) { return *reinterpret_cast<const std::uint16_t*>(from); }
__device__ __forceinline__ unsigned load_4(const std::uint8_t* from) { return load_2(from) | load_2(from + 2) << 16; }
__device__ __forceinline__ float half_at(const std::uint8_t* from) { return to_float(Half{static_cast<std::uint16_t>(load_2(from))}); }

// The eight codes of part `part` (0 .. 3) of a block as bytes, from its nibbles.
__device__ __forceinline__ void nibbles_of(const std::uint8_t* q, int part, unsigned (&codes)[2]) {
#pragma unroll
  for (int i = 0; i < 2; ++i) codes[i] = load_4(q + part % 2 * 8 + 4 * i) >> part / 2 * 4 & 0x0f0f0f0fu;
}

// Bit i of four at bit 8i.
__device__ __forceinline__ unsigned spread_bits(unsigned four) { return (four * 0x00204081u) & 0x01010101u; }

__device__ __forceinline__ void add_fifth_bits(const std::uint8_t* qh, int part, unsigned (&codes)[2]) {
  const unsigned bits = load_2(qh + part / 2 * 2) >> part % 2 * 8;
#pragma unroll
  for (int i = 0; i < 2; ++i) codes[i] |= spread_bits(bits >> 4 * i & 0xfu) << 4;
}

// Codes (unsigned bytes), what is subtracted from them, scale and minimum: value = d * (code - zero) + m.
struct BlockPart {
  unsigned codes[2];
  int zero;
  std::uint16_t d, m;  // halves
};

// Block formats of 32 values. row: of the head; piece: eight values each.
__device__ __forceinline__ BlockPart block_part(DType type, const std::uint8_t* row, int piece) {
  const int part = piece % 4, number = piece / 4;
  BlockPart b{{0, 0}, 0, 0, 0};
  const std::uint8_t* block = row;
  switch (type) {
    case DType::kQ8_0:
      block += number * static_cast<int>(sizeof(BlockQ8_0));
#pragma unroll
      for (int i = 0; i < 2; ++i) b.codes[i] = load_4(block + 2 + part * 8 + 4 * i) ^ 0x80808080u;
      b.zero = 128;
      break;
    case DType::kQ4_0:
      block += number * static_cast<int>(sizeof(BlockQ4_0));
      nibbles_of(block + 2, part, b.codes);
      b.zero = 8;
      break;
    case DType::kQ4_1:
      block += number * static_cast<int>(sizeof(BlockQ4_1));
      nibbles_of(block + 4, part, b.codes);
      b.m = static_cast<std::uint16_t>(load_2(block + 2));
      break;
    case DType::kQ5_0:
      block += number * static_cast<int>(sizeof(BlockQ5_0));
      nibbles_of(block + 6, part, b.codes);
      add_fifth_bits(block + 2, part, b.codes);
      b.zero = 16;
      break;
    default:
      block += number * static_cast<int>(sizeof(BlockQ5_1));
      nibbles_of(block + 8, part, b.codes);
      add_fifth_bits(block + 4, part, b.codes);
      b.m = static_cast<std::uint16_t>(load_2(block + 2));
  }
  b.d = static_cast<std::uint16_t>(load_2(block));
  return b;
}

__device__ __forceinline__ void read_q6_k(const std::uint8_t* row, int piece, float (&x)[kLaneValues]) {
  const std::uint8_t* block = row + piece / 32 * static_cast<int>(sizeof(BlockQ6_K));
  const int first = piece % 32 * kLaneValues, half = first / 128, quarter = first / 32 % 4, l = first % 32;
  const float scale = half_at(block + 208) * static_cast<float>(static_cast<std::int8_t>(block[192 + first / 16]));
#pragma unroll
  for (int j = 0; j < kLaneValues; ++j) {
    const int low = block[64 * half + 32 * (quarter & 1) + l + j] >> (quarter >= 2 ? 4 : 0) & 15, high = block[128 + 32 * half + l + j] >> 2 * quarter & 3;
    x[j] = scale * static_cast<float>((low | high << 4) - 32);
  }
}

// Values 8 piece .. 8 piece + 7 of the head whose row begins at `row`; `count`: how many of them there are (whole blocks have all).
__device__ __forceinline__ void read_piece(DType type, const std::uint8_t* row, int piece, int count, float (&x)[kLaneValues]) {
  switch (type) {
    case DType::kF32:
#pragma unroll
      for (int j = 0; j < kLaneValues; ++j) x[j] = j < count ? reinterpret_cast<const float*>(row)[piece * kLaneValues + j] : 0.0f;
      return;
    case DType::kF16:
#pragma unroll
      for (int j = 0; j < kLaneValues; ++j) x[j] = j < count ? to_float(reinterpret_cast<const Half*>(row)[piece * kLaneValues + j]) : 0.0f;
      return;
    case DType::kBF16:
#pragma unroll
      for (int j = 0; j < kLaneValues; ++j) x[j] = j < count ? to_float(reinterpret_cast<const Bf16*>(row)[piece * kLaneValues + j]) : 0.0f;
      return;
    case DType::kQ6_K: return read_q6_k(row, piece, x);
    default: break;
  }
  const BlockPart b = block_part(type, row, piece);
  const float d = to_float(Half{b.d}), m = to_float(Half{b.m});
#pragma unroll
  for (int j = 0; j < kLaneValues; ++j) x[j] = static_cast<float>(static_cast<int>(b.codes[j / 4] >> j % 4 * 8 & 0xffu) - b.zero) * d + m;
}

}  // namespace crossover::cuda
