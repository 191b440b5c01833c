// Many tokens on Hopper: GemmTile's 256 rows of weights x 128 tokens, multiplied by warpgroups (wgmma). Two warpgroups have 128 rows each, as two products of
// 64 beside each other; a third copies raw weights, a slice of every row (256 values of Q6_K), and x, 64 values of every token, by cp.async. Only mbarriers
// tie the three together: full (a count of copies) and free (a count of warps). Blocks stay and take tile after tile, so that the copies of the next
// one begin while the sums of this one leave.
// Weights are the M side, in registers: wgmma's fragment of A is m16n8k16's, so that raw bytes become fragments where they are read, as in gemm_tile.h, once
// a block and in the same order of rows. x is B, K-major and swizzled by 128 bytes. A warp unpacks the fragments of one product while the other runs, and
// changes them once their own has been waited for: at any time one or two products of a warpgroup are under way.
//
// Cycles of a step of 64 values. Tensor cores: 1024 (2 * 256 * 128 * 64 flops at 4096 a cycle). Issue slots of a scheduler: two warps that multiply have
// some 317 instructions each for Q6_K, by the disassembly, and one that copies 130: 760. Shared memory, at 128 bytes a cycle: x is read for every 64
// rows (512), weights by 44 loads of a warp (352), copies write 29 KiB (233): 1097, a little above the products: 0.93 of the peak at most. L2: 16 KiB of x
// and 15 KiB of weights in whole sectors for 4.2 MFLOP: 4.2 TB/s at 550 TFLOP/s of the 5.5 that an H100 gives, which itself ends at 730 (at 470
// with weights of bf16, 32 KiB a step). With 128 rows and 256 tokens shared memory would have room, but L2 would end at 570. Sums leave in some 2000
// cycles, of 82000 that a tile takes with K = 5120.
// Expected 450-600 TFLOP/s, 45-60 % of 989. Not measured yet: the kernel has run on the emulation alone, so it is used where it is asked for by name
// (CROSSOVER_CUDA_PRODUCTS=warpgroup).
//
// Registers of a thread that multiplies: 128 of sums, 32 of fragments, 8 of packed codes, 216 in all, and 72 of one that copies: 128 * (2 * 216 + 72) =
// 63 Ki of 64 Ki. Shared memory: six steps of x 96 KiB, two slices of Q6_K 120 KiB (two to four of other types) and what aligns them, of 227 KiB.
#include "kernels/cuda/gemm_parts.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/warpgroup.h"

namespace crossover::cuda {
namespace {

constexpr int kMultipliers = 2, kThreads = (kMultipliers + 1) * kWarpgroup, kGroupWarps = kWarpgroup / kWarp;
constexpr int kXStages = 6;
constexpr std::size_t kMostShared = 227 * 1024, kBarrierBytes = 256;

template <DType kType, bool kPaired>
struct GroupTile : GemmTile<kType, kGroupTokens / 8, kMultipliers * kGroupWarps, kPaired> {
  using Base = GemmTile<kType, kGroupTokens / 8, kMultipliers * kGroupWarps, kPaired>;
  static constexpr int kFit = static_cast<int>(kMostShared - kBarrierBytes - kAtomBytes - kXStages * Base::kXBytes) / Base::kRawBytes;
  static constexpr int kRawStages = kFit < 4 ? kFit : 4;
  static constexpr std::size_t kSharedBytes = kAtomBytes + kXStages * Base::kXBytes + kRawStages * Base::kRawBytes + kBarrierBytes;
  static_assert(kRawStages >= 2 && 2 * (kXStages + kRawStages) * sizeof(std::uint64_t) <= kBarrierBytes && Base::kXRow == kPanelRowBytes);
};

// token_tiles: of the grid of tiles, whose neighbours share weights; its tiles go round the blocks.
struct GroupArguments {
  GemmArguments gemm;
  unsigned token_tiles, row_tiles, tiles;
};

#ifdef CROSSOVER_WARPGROUPS

constexpr int kMultiplyRegisters = 216, kCopyRegisters = 72;

// A ring of stages that one warpgroup fills and the others empty, and whose turn it is.
template <int kStages, int kStageBytes>
struct Ring {
  std::byte* stages;
  std::uint64_t *full, *free;  // [kStages]
  int turn = 0, round = 0;

  __device__ __forceinline__ Ring(std::byte* stages_, std::uint64_t* barriers) : stages(stages_), full(barriers), free(barriers + kStages) {}
  __device__ __forceinline__ void init() const {
    for (int i = 0; i < kStages; ++i) barrier_init(full + i, kWarpgroup), barrier_init(free + i, kMultipliers * kGroupWarps);
  }
  __device__ __forceinline__ std::byte* stage() const { return stages + turn * kStageBytes; }
  __device__ __forceinline__ void wait_full() const { barrier_wait(full + turn, round); }
  __device__ __forceinline__ void wait_free() const { barrier_wait(free + turn, round ^ 1); }
  __device__ __forceinline__ void filled() {  // once what was asked for has arrived
    barrier_arrive_after_copies(full + turn);
    next();
  }
  __device__ __forceinline__ void leave(int stage) const {  // by a warp
    __syncwarp();
    if (threadIdx.x % kWarp == 0) barrier_arrive(free + stage);
  }
  __device__ __forceinline__ void next() {
    if (++turn == kStages) turn = 0, round ^= 1;
  }
};

template <class Tile>
struct Rings {
  Ring<kXStages, Tile::kXBytes> x;
  Ring<Tile::kRawStages, Tile::kRawBytes> raw;

  __device__ __forceinline__ explicit Rings(std::byte* memory)
      : x(memory, reinterpret_cast<std::uint64_t*>(memory + kXStages * Tile::kXBytes + Tile::kRawStages * Tile::kRawBytes)),
        raw(memory + kXStages * Tile::kXBytes, x.free + kXStages) {}
};

// What is to be done of a tile.
template <class Tile>
struct Part {
  std::int64_t token_0, row_0;
  int split, begin, end;  // begin, end: slices
  int steps;              // of the whole product

  __device__ __forceinline__ Part(const GroupArguments& a, unsigned index) {
    const unsigned across = index / a.token_tiles;
    token_0 = static_cast<std::int64_t>(index % a.token_tiles) * Tile::kTokens, row_0 = static_cast<std::int64_t>(across % a.row_tiles) * Tile::kRows;
    split = static_cast<int>(across / a.row_tiles);
    steps = static_cast<int>((a.gemm.values + Tile::kStep - 1) / Tile::kStep);
    begin = split * a.gemm.slices_per_split;
    end = min(begin + a.gemm.slices_per_split, (steps + Tile::kStepsPerSlice - 1) / Tile::kStepsPerSlice);
  }
  // Only rows of whole slices have all steps of the last one.
  __device__ __forceinline__ bool has(int step) const { return Tile::kSlice == Tile::B::kValues || Tile::kStepsPerSlice == 1 || step < steps; }
};

constexpr int kRowThreads = 8, kRowsAtOnce = kWarpgroup / kRowThreads;  // of the warpgroup that copies
__device__ __forceinline__ int copy_row_of_thread() { return static_cast<int>(threadIdx.x) % kWarpgroup / kRowThreads; }
__device__ __forceinline__ int chunk_of_thread() { return static_cast<int>(threadIdx.x) % kRowThreads; }

// One step of the tokens from from's on, sixteen rows at a time, of which `more` follow; tokens past the end are one before it again.
template <class Tile>
__device__ __forceinline__ void copy_x(std::byte* to, const Bf16* from, std::int64_t stride, int more) {
  to += panel_at(copy_row_of_thread(), chunk_of_thread());
#pragma unroll
  for (int i = 0; i < Tile::kTokens / kRowsAtOnce; ++i) {
    copy_async_16(to + i * kRowsAtOnce * Tile::kXRow, from);
    if (i < more) from += kRowsAtOnce * stride;
  }
}

__device__ __forceinline__ int bytes_of_slice(int full, std::int64_t left) { return left < full ? static_cast<int>(left) : full; }

// One slice of the weights' rows from row_0 on, those that there are.
template <class Tile>
__device__ __forceinline__ void copy_rows(std::byte* to, const GemmArguments& a, std::int64_t row_0, std::int64_t begin, int bytes) {
#pragma unroll 1
  for (int slot = copy_row_of_thread(); slot < Tile::kWeightRows; slot += kRowsAtOnce) {
    const WeightRows matrix = Tile::of(a.weight, a.up, slot % 32);
    const std::byte* const row = matrix.row(row_0 + Tile::row_of_slot(slot / 32, slot % 32));
    if (row) copy_row<Tile::kSliceBytes>(to + slot * Tile::kRowBytes, row + begin, bytes, chunk_of_thread(), matrix);
  }
}

// The same where whole() says so. Rows in one place of every warp's slots are multiples of 16 apart, so all as many bytes off 16.
template <class Tile>
__device__ __forceinline__ void copy_whole_rows(std::byte* to, const GemmArguments& a, std::int64_t row_0, std::int64_t begin, int bytes) {
  constexpr int kWarps = Tile::kWeightRows / 32, kPass = kRowThreads * 16, kPasses = (chunks_of(Tile::kSliceBytes) * 16 + kPass - 1) / kPass;
  to += copy_row_of_thread() * Tile::kRowBytes + chunk_of_thread() * 16;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const WeightRows matrix = Tile::of(a.weight, a.up, 16 * half);
    const std::byte* from = matrix.data + (row_0 + Tile::row_of_slot(0, 16 * half + copy_row_of_thread())) * matrix.stride + begin;
    const int skew = misalignment(from), left = skew + bytes - chunk_of_thread() * 16;
    from += chunk_of_thread() * 16 - skew;
#pragma unroll
    for (int warp = 0; warp < kWarps; ++warp) {
#pragma unroll
      for (int pass = 0; pass < kPasses; ++pass)
        if (pass * kPass < left) copy_async_16(to + (32 * warp + 16 * half) * Tile::kRowBytes + pass * kPass, from + pass * kPass);
      from += Tile::kRows / kWarps * matrix.stride;
    }
  }
}

// Whether all rows from row_0 on are there and no 16 bytes with some of theirs reach out of the matrix.
template <class Tile>
__device__ __forceinline__ bool whole(const WeightRows& matrix, std::int64_t row_0) {
  const std::int64_t behind = matrix.rows - row_0 - Tile::kRows;
  return (row_0 > 0 || misalignment(matrix.data) == 0) && (behind > 0 || (behind == 0 && misalignment(matrix.end) == 0));
}

template <class Tile>
__device__ __forceinline__ void copy_parts(const GroupArguments& a, Rings<Tile> rings) {
  for (unsigned index = blockIdx.x; index < a.tiles; index += gridDim.x) {
    const Part<Tile> part(a, index);
    const bool inside = whole<Tile>(a.gemm.weight, part.row_0) && whole<Tile>(a.gemm.up, part.row_0);
    const std::int64_t last = a.gemm.out.rows - 1, token = min(part.token_0 + copy_row_of_thread(), last);
    const Bf16* const x = a.gemm.x + token * a.gemm.x_stride + chunk_of_thread() % 2 * 8;
    const int more = static_cast<int>(min(last - token, static_cast<std::int64_t>(Tile::kTokens))) / kRowsAtOnce;
#pragma unroll 1
    for (int slice = part.begin; slice < part.end; ++slice) {
      rings.raw.wait_free();
      const std::int64_t begin = static_cast<std::int64_t>(slice) * Tile::kSliceBytes;
      const int bytes = bytes_of_slice(Tile::kSliceBytes, a.gemm.values / Tile::B::kValues * Tile::B::kBytes - begin);
      if (inside) copy_whole_rows<Tile>(rings.raw.stage(), a.gemm, part.row_0, begin, bytes);
      else copy_rows<Tile>(rings.raw.stage(), a.gemm, part.row_0, begin, bytes);
      rings.raw.filled();
#pragma unroll 1
      for (int i = 0; i < Tile::kStepsPerSlice && part.has(slice * Tile::kStepsPerSlice + i); ++i) {
        rings.x.wait_free();
        copy_x<Tile>(rings.x.stage(), x + static_cast<std::int64_t>(slice) * Tile::kSlice + Tile::group_begin(i, chunk_of_thread() / 2), a.gemm.x_stride, more);
        rings.x.filled();
      }
    }
  }
  copy_async_commit();
  copy_async_wait<0>();
}

constexpr int kGroups = kStepValues / kGroupValues;
using Fragments = unsigned[kGroups][4];  // of a step

// A product has a half of the warp's rows, 16 kHalf .. 16 kHalf + 15; rows[i] is the slice of row g + 8 i. The codes of a step are read ahead of the
// wait for the product before, and unpacked behind it. units: that the rows have from this step on.
template <class Tile>
using Codes = typename Tile::B::Packed[Tile::kUnitsPerStep][2][Tile::B::kGroups];

template <class Tile>
__device__ __forceinline__ const std::byte* block_of_unit(const std::byte* row, int unit_of_slice) {
  return row + unit_of_slice / Tile::B::kUnits * Tile::B::kBytes;
}

template <class Tile, int kHalf>
__device__ __forceinline__ void read(const std::byte* const (&rows)[4], int step, int t, Codes<Tile>& codes) {
#pragma unroll
  for (int u = 0; u < Tile::kUnitsPerStep; ++u) {
    const int unit = step * Tile::kUnitsPerStep + u;
#pragma unroll
    for (int r = 0; r < 2; ++r) Tile::B::read(block_of_unit<Tile>(rows[2 * kHalf + r], unit), unit % Tile::B::kUnits, t, codes[u][r]);
  }
}

template <class Tile, int kHalf>
__device__ __forceinline__ void unpack(const std::byte* const (&rows)[4], int step, int units, const Codes<Tile>& codes, Fragments& a) {
  using B = typename Tile::B;
#pragma unroll
  for (int u = 0; u < Tile::kUnitsPerStep; ++u) {
    const int unit = step * Tile::kUnitsPerStep + u;
    const bool there = Tile::kUnitsPerStep == 1 || u < units;  // x is 0 where there is none, and what was read may be no number
#pragma unroll
    for (int g = 0; g < B::kGroups; ++g)
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const Quad weight = B::weight(codes[u][r][g], block_of_unit<Tile>(rows[2 * kHalf + r], unit), unit % B::kUnits, g);
        a[u * B::kGroups + g][r] = there ? weight.low : 0, a[u * B::kGroups + g][2 + r] = there ? weight.high : 0;
      }
  }
}

template <class Tile, int kHalf>
__device__ __forceinline__ void begin_products(Tile& tile, const Fragments& a, std::uint64_t x) {
  fence_registers();
#pragma unroll
  for (int g = 0; g < kGroups; ++g) multiply_by_rows(tile.sums[kHalf], a[g], x + descriptor_step(g * 32));
  commit_products();
}

__device__ __forceinline__ void settle_all(Fragments& a) {
#pragma unroll
  for (int g = 0; g < kGroups; ++g) settle(a[g]);
}

// Between a wait and the next product nothing branches: the compiler would let every product wait for the one before.
template <class Tile>
__device__ __forceinline__ void multiply_part(const GemmArguments& a, Rings<Tile>& rings, const Part<Tile>& part, Tile& tile) {
  const typename Tile::Lane me = Tile::lane_of(a.weight, a.up, part.row_0);
  Fragments low = {}, high = {};
  int behind = -1;  // stage of x that the products before may still read
#pragma unroll 1
  for (int slice = part.begin; slice < part.end; ++slice) {
    rings.raw.wait_full();
    const std::byte* rows[4];
#pragma unroll
    for (int r = 0; r < 4; ++r) rows[r] = Tile::block_of(rings.raw.stage(), slice, 0, me, r);
#pragma unroll
    for (int i = 0; i < Tile::kStepsPerSlice; ++i) {
      const int step = slice * Tile::kStepsPerSlice + i, units = Tile::units_of(step, a.values);
      if (!part.has(step)) break;
      Codes<Tile> codes;
      read<Tile, 0>(rows, i, me.t, codes);
      wait_products<1>();
      settle_all(low);
      unpack<Tile, 0>(rows, i, units, codes, low);
      rings.x.wait_full();
      fence_proxy();  // what was copied, for what multiplies
      const std::uint64_t x = matrix_descriptor(shared_address(rings.x.stage()));
      begin_products<Tile, 0>(tile, low, x);
      read<Tile, 1>(rows, i, me.t, codes);
      wait_products<1>();
      settle_all(high);
      unpack<Tile, 1>(rows, i, units, codes, high);
      begin_products<Tile, 1>(tile, high, x);
      if (behind >= 0) rings.x.leave(behind);
      behind = rings.x.turn;
      rings.x.next();
    }
    rings.raw.leave(rings.raw.turn);
    rings.raw.next();
  }
  wait_products<0>();
  settle_all(low), settle_all(high);
#pragma unroll
  for (int half = 0; half < 2; ++half)
#pragma unroll
    for (auto& sums : tile.sums[half]) settle(sums);
  if (behind >= 0) rings.x.leave(behind);
}

#endif

template <DType kType, bool kPaired>
__global__ void __launch_bounds__(kThreads, 1) gemm_by_groups(GroupArguments a) {
  wait_for_launches_before();
#ifdef CROSSOVER_WARPGROUPS
  using Tile = GroupTile<kType, kPaired>;
  std::byte* const memory = dynamic_shared<std::byte>();
  Rings<Tile> rings(memory + (kAtomBytes - shared_address(memory) % kAtomBytes) % kAtomBytes);
  if (threadIdx.x == 0) rings.x.init(), rings.raw.init();
  __syncthreads();
  const int group = __shfl_sync(kAllLanes, static_cast<int>(threadIdx.x) / kWarpgroup, 0);
  if (group == kMultipliers) {
    give_registers<kCopyRegisters>();
    copy_parts<Tile>(a, rings);
  } else {
    take_registers<kMultiplyRegisters>();
    for (unsigned index = blockIdx.x; index < a.tiles; index += gridDim.x) {
      const Part<Tile> part(a, index);
      Tile tile;
      multiply_part<Tile>(a.gemm, rings, part, tile);
      leave_sums<kPaired>(a.gemm, tile, part.token_0, part.row_0, part.split);
    }
  }
#else
  __trap();  // launched on a device that its code was not compiled for
#endif
}

template <DType kType, bool kPaired>
void launch_by_groups(Context& ctx, GemmArguments a, int splits) {
  using Tile = GroupTile<kType, kPaired>;
  const unsigned token_tiles = blocks_for(a.out.rows, Tile::kTokens), row_tiles = blocks_for(a.out.dim, Tile::kRows);
  const int slices = static_cast<int>((a.values + Tile::kSlice - 1) / Tile::kSlice), resident = ctx.device->facts().multiprocessors;
  splits = begin_parts(ctx, a, kPaired, splits,
                       {.tokens = a.out.rows, .rows = a.out.dim, .values = a.values, .tile_tokens = Tile::kTokens, .tile_rows = Tile::kRows, .slices = slices,
                        .resident = resident});
  const unsigned tiles = token_tiles * row_tiles * static_cast<unsigned>(splits);
  launch(ctx, "gemm", gemm_by_groups<kType, kPaired>, {dim3(min(tiles, static_cast<unsigned>(resident))), dim3(kThreads), Tile::kSharedBytes},
         GroupArguments{a, token_tiles, row_tiles, tiles});
  end_parts(ctx, a, kPaired, splits);
}

}  // namespace

bool by_warpgroups(const Device& device, std::int64_t tokens) {
  return device.uses_warpgroups() && tokens > kGroupTokens / 2 && device.facts().shared_bytes >= kMostShared;
}

void gemm_by_warpgroups(Context& ctx, const GemmArguments& a, DType type, bool paired, int splits) {
  dispatch(type, [&]<DType kType>() {
    if constexpr (tuned(kType)) paired ? launch_by_groups<kType, true>(ctx, a, splits) : launch_by_groups<kType, false>(ctx, a, splits);
    else if constexpr (kType != DType::kF32) launch_by_groups<kType, false>(ctx, a, splits);
  });
}

}  // namespace crossover::cuda
