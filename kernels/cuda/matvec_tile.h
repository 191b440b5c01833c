// Few tokens: 16 rows of weights by at most eight tokens, bound by reading the weights once.
//
// Tensor cores serve even one token: the eight columns of mma.m16n8k16 come at no cost, and what limits is the instructions that unpack a weight.
// Codes enter as they are (128 + code is the bf16 whose mantissa is the code); a product with a constant fragment gives kOffset * sum(x) of a group for
// all rows, with which the sums of that group begin, and the group's scale multiplies them in f32: weights are not rounded, activations are, to bf16.
// Of one token the columns are eight groups instead of eight tokens: a group's x stands in its own column and zeros in the others, so that eight products
// share one set of sums and a lane scales four of these where it would scale thirty-two.
// Per 16 x 16 weights of Q6_K and one token a warp issues about 35 (counted in the code for sm_90a): 9 to read words at 2-byte addresses, 10 to make bf16
// of them, 6 for the product and its scales, 10 for copies, activations and whose rows these are; 4.3 per weight and lane, where an H200 (4.8 TB/s, 132
// multiprocessors at 1.75 GHz) has issue slots for 5.0 in the time of 0.82 bytes, an H100 for 7.2. Two to eight tokens take about 50, 6.3 per weight and
// lane: on an H200 they are bound by issue, at three to four fifths of its bandwidth.
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
  bool inner;  // none of them is the first or the last of its matrix
};

template <DType kType, int kTokens>
struct MatvecTile {
  using B = Blocks<kType>;
  static constexpr int kSlice = kPlainType<kType> ? 128 : 256, kUnits = kSlice / B::kValues * B::kUnits;
  static constexpr int kSliceBytes = kSlice / B::kValues * B::kBytes, kRowBytes = slot_bytes(kSliceBytes), kRawBytes = 16 * kRowBytes;
  static constexpr int kXStride = kSlice + (kTokens > 1 ? 16 : 0);  // floats; two tokens' 64 bytes on different banks
  static constexpr int kSlotBytes = kRawBytes + kTokens * kXStride * 4;

  // Of one token the eight columns of a product are eight groups, each of which meets its own values alone.
  static constexpr bool kByGroups = kTokens == 1 && !kPlainType<kType>;
  static constexpr bool kWhole = B::kValues == kSlice;  // no slice is shorter

  struct Activations {
    const float* data;
    std::int64_t stride, values;  // values: K
    int tokens;                   // at least 1; those up to kTokens repeat the last
    bool fours;                   // rows begin at 16 bytes
  };

  // By one warp: slice `slice` of 16 rows and of the activations.
  __device__ __forceinline__ static void load(std::byte* slot, int slice, const MatvecRows& rows, const Activations& x) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp, values = values_of(x, slice), bytes = values / B::kValues * B::kBytes;
    load_half(slot, slice, rows.first, rows.first_row, bytes, rows.inner);
    load_half(slot + 8 * kRowBytes, slice, rows.second, rows.second_row, bytes, rows.inner);
    auto* const to = reinterpret_cast<float*>(slot + kRawBytes);
    const float* const from = x.data + static_cast<std::int64_t>(slice) * kSlice;
    if (x.fours) {
      constexpr int kPieces = kSlice / (4 * kWarp);
#pragma unroll(kTokens == 1 ? kPieces : 1)
      for (int i = 0; i < kTokens * kPieces; ++i) {
        const int at = (i % kPieces * kWarp + lane) * 4;
        if (kWhole || at < values) copy_async_16(to + i / kPieces * kXStride + at, from + token(x, i / kPieces) * x.stride + at);
      }
    } else {
      for (int i = lane; i < kTokens * kSlice; i += kWarp)
        if (i % kSlice < values) to[i / kSlice * kXStride + i % kSlice] = from[token(x, i / kSlice) * x.stride + i % kSlice];
    }
  }

  // sums: of rows lane / 4 (0, 1) and lane / 4 + 8 (2, 3), tokens 2 (lane % 4) and the next; ready after gather.
  __device__ __forceinline__ static void multiply(const std::byte* slot, int slice, const MatvecRows& rows, const Activations& x, float (&sums)[4]) {
    const int group = static_cast<int>(threadIdx.x) % kWarp / 4;
    const std::int64_t at = static_cast<std::int64_t>(slice) * kSliceBytes;
    const std::byte* const low = slot + group * kRowBytes + misalignment(rows.first.data + (rows.first_row + group) * rows.first.stride + at);
    const std::byte* const high = slot + (group + 8) * kRowBytes + misalignment(rows.second.data + (rows.second_row + group) * rows.second.stride + at);
    const auto* const values = reinterpret_cast<const float*>(slot + kRawBytes);
    if constexpr (kByGroups) multiply_groups(low, high, values, values_of(x, slice) / kGroupValues, sums);
    else multiply_tokens(low, high, values, values_of(x, slice) / (B::kValues / B::kUnits), sums);
  }

  // Once, after the last slice.
  __device__ __forceinline__ static void gather(float (&sums)[4]) {
    if constexpr (kByGroups)
#pragma unroll
      for (int row = 0; row < 4; row += 2) {
        float sum = sums[row] + sums[row + 1];
        sum += __shfl_xor_sync(kAllLanes, sum, 1);
        sums[row] = sum + __shfl_xor_sync(kAllLanes, sum, 2);
      }
  }

 private:
  __device__ __forceinline__ static int token(const Activations& x, int i) { return kTokens == 1 ? 0 : i < x.tokens ? i : x.tokens - 1; }

  // Of a slice; only the last may have fewer.
  __device__ __forceinline__ static int values_of(const Activations& x, int slice) {
    const std::int64_t left = x.values - static_cast<std::int64_t>(slice) * kSlice;
    return !kWhole && left < kSlice ? static_cast<int>(left) : kSlice;
  }

  // Eight rows, eight lanes each.
  __device__ __forceinline__ static void load_half(std::byte* slot, int slice, const WeightRows& matrix, std::int64_t first_row, int bytes, bool inner) {
    const int group = static_cast<int>(threadIdx.x) % kWarp / 8, lane = static_cast<int>(threadIdx.x) % 8;
    const std::int64_t at = static_cast<std::int64_t>(slice) * kSliceBytes;
    if (inner) {
      const std::byte* const from = matrix.data + (first_row + group) * matrix.stride + at + lane * 16;
      std::byte* const to = slot + group * kRowBytes + lane * 16;
      copy_inner_row<kSliceBytes, kWhole>(to, from, bytes, lane);
      copy_inner_row<kSliceBytes, kWhole>(to + 4 * kRowBytes, from + 4 * matrix.stride, bytes, lane);
      return;
    }
#pragma unroll 1
    for (int i = group; i < 8; i += 4)
      if (const std::byte* const row = matrix.row(first_row + i)) copy_row<kSliceBytes>(slot + i * kRowBytes, row + at, bytes, lane, matrix);
  }

  // A column is a group: its x meets the weights of its group, the others of that product are zeros, so that eight products of eight groups share their
  // sums, which are scaled once for all of them. low, high: this lane's two rows; groups: of the slice.
  __device__ __forceinline__ static void multiply_groups(const std::byte* low, const std::byte* high, const float* values, int groups, float (&sums)[4]) {
    constexpr int kEight = 8, kEightUnits = kEight / B::kGroups;
    const int lane = static_cast<int>(threadIdx.x) % kWarp, column = lane / 4, t = lane % 4;
    const auto block_of = [](const std::byte* row, int group) { return kWhole ? row : row + group / B::kGroups / B::kUnits * B::kBytes; };
#pragma unroll
    for (int first = 0; first < kSlice / kGroupValues; first += kEight) {
      if (!kWhole && first >= groups) break;
      const int own = first + column, unit_of_own = own / B::kGroups;
      const float4 v = *reinterpret_cast<const float4*>(values + unit_of_own / B::kUnits * B::kValues + B::first(unit_of_own % B::kUnits, own % B::kGroups) + 4 * t);
      const unsigned x[2] = {pack_bf16(v.x, v.y), pack_bf16(v.z, v.w)};
      float dots[4] = {}, offsets[4] = {};
      if constexpr (B::kOffset != 0) {
        const unsigned offset = pack_bf16(B::kOffset, B::kOffset);
        mma_bf16(offsets, {offset, offset, offset, offset}, x);
#pragma unroll
        for (int i = 0; i < 4; ++i) dots[i] = offsets[i];
      }
#pragma unroll
      for (int u = 0; u < kEightUnits; ++u) {
        if (!kWhole && first + u * B::kGroups >= groups) break;
        const int unit = first / B::kGroups + u;
        typename B::Packed packed_low[B::kGroups], packed_high[B::kGroups];
        B::read(low + unit / B::kUnits * B::kBytes, unit % B::kUnits, t, packed_low);
        B::read(high + unit / B::kUnits * B::kBytes, unit % B::kUnits, t, packed_high);
#pragma unroll
        for (int g = 0; g < B::kGroups; ++g) {
          const bool mine = column == u * B::kGroups + g;
          const Quad of_low = B::code(packed_low[g]), of_high = B::code(packed_high[g]);
          mma_bf16(dots, {of_low.low, of_high.low, of_low.high, of_high.high}, {mine ? x[0] : 0u, mine ? x[1] : 0u});
        }
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int group = first + 2 * t + i % 2;
        if (!kWhole && group >= groups) continue;
        const std::byte* const block = block_of(i < 2 ? low : high, group);
        sums[i] = fmaf(B::factor(block, group / B::kGroups % B::kUnits, group % B::kGroups), dots[i], sums[i]);
        if constexpr (B::kHasMinimum) sums[i] = fmaf(B::minimum(block) / B::kOffset, offsets[i], sums[i]);
      }
    }
  }

  // A column is a token.
  __device__ __forceinline__ static void multiply_tokens(const std::byte* low, const std::byte* high, const float* values, int units, float (&sums)[4]) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp, t = lane % 4;
    const float* const mine = values + (kTokens == 1 ? 0 : lane / 4 % kTokens) * kXStride + 4 * t;
#pragma unroll
    for (int unit = 0; unit < kUnits; ++unit) {
      if (!kWhole && unit >= units) break;
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
};

}  // namespace crossover::cuda
