// Few tokens: 16 rows of weights by at most eight tokens, bound by reading the weights once.
//
// Tensor cores serve even one token: the eight columns of mma.m16n8k16 come at no cost, and what limits is the instructions that unpack a weight.
// Per 16 x 16 weights of Q6_K a warp issues about 27: 9 to read words at 2-byte addresses, 7 to join the codes, 4 to make bf16 of them, 4 to
// scale the sums, 2 mma, and its share of copies and activations; 3.4 per weight and lane, where an H200 (4.8 TB/s, 132 multiprocessors at
// 1.75 GHz) has issue slots for 5.0 in the time of 0.82 bytes, an H100 for 7.2. So reading stays the bound, at two thirds of the issue rate or less.
// Codes enter as they are (128 + code is the bf16 whose mantissa is the code); a product with a constant fragment gives kOffset * sum(x) of a group for
// all rows, with which the sums of that group begin, and the group's scale multiplies them in f32: weights are not rounded, activations are, to bf16.
//
// The warps of a block split K by slices, each with its own ring of two slots that asynchronous copies fill: no barrier but the
// one before the sums of the warps are added, in order. In flight per multiprocessor: two blocks x 8 warps x one to two slices of 3.4 KB = 54 to 107 KB,
// against the 29 KB that 4.8 TB/s times 800 ns ask of each. Blocks stay and take tile after tile, so that the ring never runs dry between them.
#pragma once

#include "kernels/cuda/blocks.h"
#include "kernels/cuda/weight_rows.h"

namespace crossover::cuda {

// Rows 0..7 of a tile and rows 8..15: of one matrix eight apart, or of a gate and its up.
struct MatvecRows {
  WeightRows first, second;
  std::int64_t first_row, second_row;
};

template <DType kType, int kTokens>
struct MatvecTile {
  using B = Blocks<kType>;
  static constexpr int kSlice = kPlainType<kType> ? 128 : 256, kUnits = kSlice / B::kValues * B::kUnits;
  static constexpr int kSliceBytes = kSlice / B::kValues * B::kBytes, kRowBytes = slot_bytes(kSliceBytes), kRawBytes = 16 * kRowBytes;
  static constexpr int kXStride = kSlice + (kTokens > 1 ? 16 : 0);  // floats; two tokens' 64 bytes on different banks
  static constexpr int kSlotBytes = kRawBytes + kTokens * kXStride * 4;

  struct Activations {
    const float* data;
    std::int64_t stride, values;  // values: K
    int tokens;                   // at least 1; those up to kTokens repeat the last
    bool fours;                   // rows begin at 16 bytes
  };

  // By one warp: slice `slice` of 16 rows and of the activations.
  __device__ __forceinline__ static void load(std::byte* slot, int slice, const MatvecRows& rows, const Activations& x) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const std::int64_t left = x.values - static_cast<std::int64_t>(slice) * kSlice;
    const int values = left < kSlice ? static_cast<int>(left) : kSlice, bytes = values / B::kValues * B::kBytes;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int i = lane / 8 + 4 * j;
      const WeightRows& matrix = j < 2 ? rows.first : rows.second;
      const std::byte* const row = matrix.row(j < 2 ? rows.first_row + i : rows.second_row + i - 8);
      if (row) copy_row<kSliceBytes>(slot + i * kRowBytes, row + static_cast<std::int64_t>(slice) * kSliceBytes, bytes, lane % 8, matrix);
    }
    auto* const to = reinterpret_cast<float*>(slot + kRawBytes);
    const float* const from = x.data + static_cast<std::int64_t>(slice) * kSlice;
    if (x.fours) {
      for (int i = lane * 4; i < kTokens * kSlice; i += 4 * kWarp)
        if (i % kSlice < values) copy_async_16(to + i / kSlice * kXStride + i % kSlice, from + token(x, i / kSlice) * x.stride + i % kSlice);
    } else {
      for (int i = lane; i < kTokens * kSlice; i += kWarp)
        if (i % kSlice < values) to[i / kSlice * kXStride + i % kSlice] = from[token(x, i / kSlice) * x.stride + i % kSlice];
    }
  }

  // sums: of rows lane / 4 (0, 1) and lane / 4 + 8 (2, 3), tokens 2 (lane % 4) and the next.
  __device__ __forceinline__ static void multiply(const std::byte* slot, int slice, const MatvecRows& rows, const Activations& x, float (&sums)[4]) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp, group = lane / 4, t = lane % 4;
    const std::int64_t at = static_cast<std::int64_t>(slice) * kSliceBytes;
    const std::byte* const low = slot + group * kRowBytes + misalignment(rows.first.data + (rows.first_row + group) * rows.first.stride + at);
    const std::byte* const high = slot + (group + 8) * kRowBytes + misalignment(rows.second.data + (rows.second_row + group) * rows.second.stride + at);
    const auto* const mine = reinterpret_cast<const float*>(slot + kRawBytes) + (kTokens == 1 ? 0 : group % kTokens) * kXStride + 4 * t;
    const std::int64_t left = (x.values - static_cast<std::int64_t>(slice) * kSlice) / (B::kValues / B::kUnits);
#pragma unroll
    for (int unit = 0; unit < kUnits; ++unit) {
      if (unit >= left) break;
      const std::byte *const block_low = low + unit / B::kUnits * B::kBytes, *const block_high = high + unit / B::kUnits * B::kBytes;
      typename B::Packed packed_low[B::kGroups], packed_high[B::kGroups];
      B::read(block_low, unit % B::kUnits, t, packed_low);
      B::read(block_high, unit % B::kUnits, t, packed_high);
#pragma unroll
      for (int g = 0; g < B::kGroups; ++g) {
        const float4 v = *reinterpret_cast<const float4*>(mine + unit / B::kUnits * B::kValues + B::first(unit % B::kUnits, g));
        const unsigned b[2] = {pack_bf16(v.x, v.y), pack_bf16(v.z, v.w)};
        const Quad first = B::code(packed_low[g]), second = B::code(packed_high[g]);
        float dots[4] = {}, offsets[4] = {};
        if constexpr (B::kOffset != 0) {
          const unsigned offset = pack_bf16(B::kOffset, B::kOffset);
          mma_bf16(offsets, {offset, offset, offset, offset}, b);
#pragma unroll
          for (int i = 0; i < 4; ++i) dots[i] = offsets[i];
        }
        mma_bf16(dots, {first.low, second.low, first.high, second.high}, b);
        const float scale[2] = {B::factor(block_low, unit % B::kUnits, g), B::factor(block_high, unit % B::kUnits, g)};
#pragma unroll
        for (int i = 0; i < 4; ++i) sums[i] = fmaf(scale[i / 2], dots[i], sums[i]);
        if constexpr (B::kHasMinimum) {
          const float minimum[2] = {B::minimum(block_low) / B::kOffset, B::minimum(block_high) / B::kOffset};
#pragma unroll
          for (int i = 0; i < 4; ++i) sums[i] = fmaf(minimum[i / 2], offsets[i], sums[i]);
        }
      }
    }
  }

 private:
  __device__ __forceinline__ static int token(const Activations& x, int i) { return i < x.tokens ? i : x.tokens - 1; }
};

}  // namespace crossover::cuda
