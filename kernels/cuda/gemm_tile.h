// A tile of C [tokens, rows] = x [tokens, K] weight [rows, K]^T on tensor cores, with weights of any type but f32 as they lie in the file.
//
// A warp owns 32 rows of weights and all tokens of the tile: the weights are the M side of mma.m16n8k16, so each weight is unpacked once per block,
// from its raw bytes in shared memory straight into the registers of a fragment (blocks.h), while other warps keep the tensor cores busy.
// Per 16 values of K a warp issues 32 mma for 128 tokens, 8 ldmatrix and about 60 instructions of unpacking: half of the issue slots that
// the mma leave free at the rate of mma.sync on sm_90 (6 cycles each on a quarter of a multiprocessor). Reading x from shared memory is what the
// 32 rows are for: 4 KiB per warp and step, or 32 cycles of 128 bytes against 50 cycles of its share of the tensor cores.
//
// Raw bytes come in slices of a row (kSlice values, a whole block of Q6_K), double buffered, each row from the 16-byte chunk that holds its first
// byte (weight_rows.h). x is double buffered in steps of 64 values, one unit of Q6_K or two of the others, or of a slice where few tokens
// would make such a step shorter than the latency of memory; its 16-byte chunks are swizzled by row % 8, so that ldmatrix has no conflicts.
// One barrier per step: behind it the next step of x and a share of the next slice are asked for, then this step is multiplied.
//
// Shared memory for Q6_K: 8 warps x 128 tokens (256 rows) 152 KiB, one block on a multiprocessor of sm_80 or sm_90, where x is read from the L2
// cache once per 256 rows: 2.9 TB/s at 400 TFLOP/s, of the 5.5 an H100's gives; 4 warps x 64 tokens 76 KiB; 4 warps x 16 tokens 76 KiB, two blocks.
// Registers at 128 tokens: 128 sums, 16 packed codes, 8 of a fragment; at most 255 a thread, no spills.
#pragma once

#include "kernels/cuda/blocks.h"
#include "kernels/cuda/view.h"
#include "kernels/cuda/weight_rows.h"

namespace crossover::cuda {

inline constexpr int kStepValues = 64;

// kPaired: the second 16 rows of every warp are the same rows of another matrix (gate and up), so that a lane holds both sums of an output.
template <DType kType, int kTokenTiles, int kWarps, bool kPaired>
struct GemmTile {
  using B = Blocks<kType>;
  static constexpr int kThreads = kWarps * kWarp, kTokens = 8 * kTokenTiles;
  static constexpr int kWeightRows = 32 * kWarps;                      // raw rows in shared memory
  static constexpr int kRows = kPaired ? kWeightRows / 2 : kWeightRows;  // of the output
  static constexpr int kUnitValues = B::kGroups * kGroupValues;
  static constexpr int kSlice = B::kValues == 256 ? 256 : kPlainType<kType> ? 64 : 128, kSliceBytes = kSlice / B::kValues * B::kBytes;
  static constexpr int kStep = kTokenTiles <= 2 ? kSlice : kStepValues, kUnitsPerStep = kStep / kUnitValues, kStepsPerSlice = kSlice / kStep;
  static constexpr int kXRow = kStep * 2, kXBytes = kTokens * kXRow;
  static constexpr int kRowBytes = slot_bytes(kSliceBytes), kRawBytes = kWeightRows * kRowBytes;
  static constexpr int kSharedBytes = 2 * (kXBytes + kRawBytes);
  static_assert(kTokenTiles % 2 == 0 && kStep % kUnitValues == 0);

  float sums[2][kTokenTiles][4] = {};

  // Value of the slice at which group `group` of step `step` begins.
  __host__ __device__ static constexpr int group_begin(int step, int group) {
    const int unit = step % kStepsPerSlice * kUnitsPerStep + group / B::kGroups;
    return unit / B::kUnits * B::kValues + B::first(unit % B::kUnits, group % B::kGroups);
  }

  // Units that rows of so many values have from the begin of a step on.
  __device__ __forceinline__ static int units_of(int step, std::int64_t values) {
    return static_cast<int>((values - static_cast<std::int64_t>(step / kStepsPerSlice) * kSlice) / kUnitValues) - step % kStepsPerSlice * kUnitsPerStep;
  }

  // x_row(token of the tile): its activations in bf16, quad order, 16-byte aligned and padded to whole units, or null: that column of the result
  // is not to be used.
  template <class XRow>
  __device__ __forceinline__ static void load_x(std::byte* x, int step, std::int64_t values, const XRow& x_row) {
    constexpr int kChunksPerRow = kXRow / 16;
    const std::int64_t slice = static_cast<std::int64_t>(step / kStepsPerSlice) * kSlice;
#pragma unroll 4
    for (int i = static_cast<int>(threadIdx.x); i < kTokens * kChunksPerRow; i += kThreads) {
      const int token = i / kChunksPerRow, chunk = i % kChunksPerRow;
      const std::int64_t begin = slice + group_begin(step, chunk / 2);
      const Bf16* const from = x_row(token);
      if (from && begin < values) copy_async_16(x + token * kXRow + (chunk ^ (token & 7)) * 16, from + begin + chunk % 2 * 8);
    }
  }

  // Row of a block that slot i of a warp's 32 holds. A fragment's rows g and g + 8 are neighbours in the result, as are those of the second
  // fragment, so that a lane's sums of a token lie side by side and eight lanes store a full line.
  __device__ __forceinline__ static int row_of_slot(int warp, int i) { return kPaired ? warp * 16 + i % 8 * 2 + i / 8 % 2 : warp * 32 + i % 8 * 4 + i / 8; }

  // Of slot i of a warp. By value: a reference chosen at run time would put both in local memory.
  __device__ __forceinline__ static WeightRows of(const WeightRows& first, const WeightRows& second, int i) {
    const bool other = kPaired && i >= 16;
    return {other ? second.data : first.data, other ? second.end : first.end, other ? second.stride : first.stride, other ? second.rows : first.rows};
  }

  // Part `part` of kStepsPerSlice of a warp's own rows. Eight lanes take a row, so that an instruction touches four rows of up to 128 bytes.
  __device__ __forceinline__ static void load_weights(std::byte* raw, int slice, int part, std::int64_t values, const WeightRows& first, const WeightRows& second, std::int64_t row_0) {
    constexpr int kRowsPerPart = 32 / kStepsPerSlice;
    const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
    const std::int64_t left = (values - static_cast<std::int64_t>(slice) * kSlice) / B::kValues * B::kBytes;
    const int bytes = left < kSliceBytes ? static_cast<int>(left) : kSliceBytes;
    const bool inner = row_0 > 0 && row_0 + kRows < first.rows;
#pragma unroll 2
    for (int i = part * kRowsPerPart + lane / 8; i < (part + 1) * kRowsPerPart; i += 4) {
      const WeightRows matrix = of(first, second, i);
      const std::int64_t row = row_0 + row_of_slot(warp, i);
      const std::byte* const from = matrix.data + row * matrix.stride + static_cast<std::int64_t>(slice) * kSliceBytes;
      std::byte* const to = raw + (warp * 32 + i) * kRowBytes;
      if (inner) copy_inner_row<kSliceBytes, false>(to + lane % 8 * 16, from + lane % 8 * 16, bytes, lane % 8);
      else if (row < matrix.rows) copy_row<kSliceBytes>(to, from, bytes, lane % 8, matrix);
    }
  }

  struct Lane {
    int lane, group, t;  // group: row of a fragment
    unsigned skews;      // four bits each: of rows group, group + 8, group + 16, group + 24 of the warp, at the first slice
  };

  __device__ __forceinline__ static int skew_of(const WeightRows& first, const WeightRows& second, std::int64_t row_0, int i) {
    const int warp = static_cast<int>(threadIdx.x) / kWarp;
    const WeightRows matrix = of(first, second, i);
    return misalignment(matrix.data + (row_0 + row_of_slot(warp, i)) * matrix.stride);
  }

  __device__ __forceinline__ static Lane lane_of(const WeightRows& first, const WeightRows& second, std::int64_t row_0) {
    Lane me;
    me.lane = static_cast<int>(threadIdx.x) % kWarp, me.group = me.lane / 4, me.t = me.lane % 4;
    me.skews = 0;
#pragma unroll
    for (int r = 0; r < 4; ++r) me.skews |= static_cast<unsigned>(skew_of(first, second, row_0, me.group + 8 * r)) << 4 * r;
    return me;
  }

  // The block with unit `unit_of_slice` of the warp's row group + 8 r.
  __device__ __forceinline__ static const std::byte* block_of(const std::byte* raw, int slice, int unit_of_slice, const Lane& me, int r) {
    const int warp = static_cast<int>(threadIdx.x) / kWarp;
    const unsigned skew = ((me.skews >> 4 * r) + static_cast<unsigned>(slice * kSliceBytes)) & 15;
    return raw + (warp * 32 + me.group + 8 * r) * kRowBytes + skew + unit_of_slice / B::kUnits * B::kBytes;
  }

  // One step from shared memory; units: how many of it the rows have.
  __device__ __forceinline__ void multiply(const std::byte* x, const std::byte* raw, int step, int units, const Lane& me, int tokens) {
#pragma unroll
    for (int u = 0; u < kUnitsPerStep; ++u) {
      if (u >= units) break;
      const int unit_of_slice = step % kStepsPerSlice * kUnitsPerStep + u;
      const int unit = unit_of_slice % B::kUnits;
      // A register per row and group, four with their codes: the two of bf16 are made where they are used.
      typename B::Packed packed[4][B::kGroups];
      const std::byte* block[4];
#pragma unroll
      for (int r = 0; r < 4; ++r) {
        block[r] = block_of(raw, step / kStepsPerSlice, unit_of_slice, me, r);
        B::read(block[r], unit, me.t, packed[r]);
      }
#pragma unroll
      for (int g = 0; g < B::kGroups; ++g) {
        unsigned a[2][4];
#pragma unroll
        for (int r = 0; r < 4; ++r) {
          const Quad weight = B::weight(packed[r][g], block[r], unit, g);
          a[r / 2][r % 2] = weight.low, a[r / 2][2 + r % 2] = weight.high;
        }
        const int chunk = (u * B::kGroups + g) * 2 + me.lane / 8 % 2;
        const std::byte* const x_rows = x + (me.lane / 16 * 8 + me.lane % 8) * kXRow + (chunk ^ (me.lane % 8)) * 16;
#pragma unroll
        for (int tile = 0; tile < kTokenTiles; tile += 2) {
          if (tile > 0 && tile % 4 == 0 && tile * 8 >= tokens) break;
          unsigned b[4];
          load_matrices(b, x_rows + tile * 8 * kXRow);
#pragma unroll
          for (int half = 0; half < 2; ++half) {
            mma_bf16(sums[half][tile], a[half], {b[0], b[1]});
            mma_bf16(sums[half][tile + 1], a[half], {b[2], b[3]});
          }
        }
      }
    }
  }

  // values: K, whole units. row_0: the first row of the matrices that this block owns. slices: which part of K, all of it unless said.
  // tokens: those from there on are left out, 32 at a time: a branch between fewer products would leave each waiting for its ldmatrix.
  // All threads of the block call; shared: kSharedBytes, not free before a barrier.
  template <class XRow>
  __device__ __forceinline__ void run(std::byte* shared, std::int64_t values, const WeightRows& first, const WeightRows& second, std::int64_t row_0, const XRow& x_row,
                                      int tokens = kTokens, int slice_begin = 0, int slice_end = INT32_MAX) {
    std::byte *const x = shared, *const raw = shared + 2 * kXBytes;
    const Lane me = lane_of(first, second, row_0);
    const int slices = min(slice_end, static_cast<int>((values + kSlice - 1) / kSlice));
    const int step_begin = slice_begin * kStepsPerSlice, step_end = min(slices * kStepsPerSlice, static_cast<int>((values + kStep - 1) / kStep));
    if (step_begin >= step_end) return;
    load_x(x + step_begin % 2 * kXBytes, step_begin, values, x_row);
    for (int part = 0; part < kStepsPerSlice; ++part) load_weights(raw + slice_begin % 2 * kRawBytes, slice_begin, part, values, first, second, row_0);
    copy_async_commit();
    for (int step = step_begin; step < step_end; ++step) {
      const int slice = step / kStepsPerSlice;
      copy_async_wait<0>();
      __syncthreads();  // what was asked for is there for all, and the buffers of the step before are free
      if (step + 1 < step_end) load_x(x + (step + 1) % 2 * kXBytes, step + 1, values, x_row);
      if (slice + 1 < slices) load_weights(raw + (slice + 1) % 2 * kRawBytes, slice + 1, step % kStepsPerSlice, values, first, second, row_0);
      copy_async_commit();
      const int units = units_of(step, values);
      multiply(x + step % 2 * kXBytes, raw + slice % 2 * kRawBytes, step, units, me, tokens);
    }
  }

  // store(row of the block, token of the tile, sums of that row and the next three), or with kPaired store(row, token, gates, ups) of that row
  // and the next; eight lanes have consecutive rows of a token.
  template <class Store>
  __device__ __forceinline__ void each(const Store& store) const {
    const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp, group = lane / 4;
#pragma unroll
    for (int tile = 0; tile < kTokenTiles; ++tile)
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int token = tile * 8 + lane % 4 * 2 + i;
        const auto& low = sums[0][tile];
        const auto& high = sums[1][tile];
        if constexpr (kPaired) store(row_of_slot(warp, group), token, Values<2>{{low[i], low[2 + i]}}, Values<2>{{high[i], high[2 + i]}});
        else store(row_of_slot(warp, group), token, Values<4>{{low[i], low[2 + i], high[i], high[2 + i]}});
      }
  }
};

}  // namespace crossover::cuda
