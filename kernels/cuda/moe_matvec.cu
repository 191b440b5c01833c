// Decode: 16 rows of weights of one expert by one token (matvec_tile.h), bound by reading the experts' weights. 35B, one token, Q6_K: gate and up
// 13.8 MB, down 6.9 MB, 4.3 us at 4.8 TB/s and 6.2 us at 3.35, and two launches. A block of 8 warps with 78 KB of rings, two on a multiprocessor:
// 264 blocks hold 14 MB under way, all that one token asks for, so what is above the floor is the latency of one load after another: id,
// weights, sum (about 2 us a launch). Registers: at most 128 for 16 warps.
//
// gate_up: a block takes tiles of 8 gate and their 8 up rows in turn, its warps the slices of K. down: a block takes 16 rows of a token's
// result and its warps the choices, so that the weighted sum needs no memory, no launch of its own and has one order.
#include "kernels/cuda/moe_matvec.h"

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <string>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/matvec_tile.h"
#include "kernels/cuda/view.h"

namespace crossover::cuda::moe {
namespace {

constexpr int kMostWarps = 8, kSlots = 2, kBlocksPerMultiprocessor = 2, kTileRows = 16;

struct Experts {
  Choices choices;
  WeightRows first, second;  // of expert 0; second: the up of gate_up
  std::int64_t expert_bytes;
  View<const float> x;       // [T, K], or by pair
  int slices, row_tiles;
  bool fours;
};

__device__ __forceinline__ WeightRows of_expert(const WeightRows& first, std::int64_t offset) {
  return {first.data + offset, first.end + offset, first.stride, first.rows};
}

// The slices that a warp multiplies, one after another: two slots, of which one is filled while the other is read.
template <class Tile>
struct Ring {
  std::byte* slots;
  int filled = 0, read = 0;

  __device__ __forceinline__ std::byte* next_to_fill() { return slots + filled++ % kSlots * Tile::kSlotBytes; }
  __device__ __forceinline__ const std::byte* next_to_read() { return slots + read++ % kSlots * Tile::kSlotBytes; }
};

template <class Tile>
__device__ __forceinline__ typename Tile::Activations one_token(const Experts& a, std::int64_t row) {
  return {a.x.row(row), a.x.stride, a.x.dim, 1, a.fours};
}

// Rows 0..7 of a tile: of gate; 8..15: the same of up. Numbers of 32 bits: divisions of 64 take as long as unpacking an eighth of a slice.
__device__ __forceinline__ MatvecRows gate_up_rows(const Experts& a, unsigned pair, unsigned row_tile) {
  const int expert = a.choices.ids[pair];
  const bool valid = expert >= 0 && expert < a.choices.experts;
  const std::int64_t offset = valid ? expert * a.expert_bytes : 0, row = row_tile * (kTileRows / 2);
  MatvecRows rows{of_expert(a.first, offset), of_expert(a.second, offset), row, row, valid && row_tile > 0 && row_tile + 1 < static_cast<unsigned>(a.row_tiles)};
  if (!valid) rows.first.rows = rows.second.rows = 0;  // nothing is read
  return rows;
}

template <DType kType>
__global__ void __launch_bounds__(kMostWarps* kWarp, kBlocksPerMultiprocessor) gate_up_kernel(const __grid_constant__ Experts a, unsigned tiles, float* inner) {
  wait_for_launches_before();
  using Tile = MatvecTile<kType, 1>;
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp, warps = static_cast<int>(blockDim.x) / kWarp;
  Ring<Tile> ring{dynamic_shared<std::byte>() + warp * kSlots * Tile::kSlotBytes};
  float* const partial = reinterpret_cast<float*>(dynamic_shared<std::byte>() + warps * kSlots * Tile::kSlotBytes);  // [warps, 16]
  const unsigned row_tiles = static_cast<unsigned>(a.row_tiles), choices = static_cast<unsigned>(a.choices.k);
  unsigned next_tile = blockIdx.x;
  int next_slice = warp;
  const auto load_next = [&] {
    if (next_tile < tiles) {
      const unsigned pair = next_tile / row_tiles;
      Tile::load(ring.next_to_fill(), next_slice, gate_up_rows(a, pair, next_tile - pair * row_tiles), one_token<Tile>(a, pair / choices));
      next_slice += warps;
      if (next_slice >= a.slices) next_slice = warp, next_tile += gridDim.x;
    }
    copy_async_commit();
  };
  load_next();
  for (unsigned tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    const unsigned pair = tile / row_tiles;
    const MatvecRows rows = gate_up_rows(a, pair, tile - pair * row_tiles);
    float sums[4] = {};
    for (int slice = warp; slice < a.slices; slice += warps) {
      load_next();
      copy_async_wait<kSlots - 1>();
      __syncwarp();
      Tile::multiply(ring.next_to_read(), slice, rows, one_token<Tile>(a, pair / choices), sums);
      __syncwarp();
    }
    Tile::gather(sums);
    if (lane % 4 == 0) partial[warp * kTileRows + lane / 4] = sums[0], partial[warp * kTileRows + 8 + lane / 4] = sums[2];
    __syncthreads();
    const std::int64_t row = rows.first_row + threadIdx.x;
    if (threadIdx.x < kTileRows / 2 && row < rows.first.rows) {
      float gate = 0, up = 0;
      for (int w = 0; w < warps; ++w) gate += partial[w * kTileRows + threadIdx.x], up += partial[w * kTileRows + 8 + threadIdx.x];
      inner[pair * a.first.rows + row] = silu(gate) * up;
    }
    __syncthreads();
  }
}

template <DType kType>
__global__ void __launch_bounds__(kMostWarps* kWarp, kBlocksPerMultiprocessor) down_kernel(const __grid_constant__ Experts a, View<float> out) {
  wait_for_launches_before();
  using Tile = MatvecTile<kType, 1>;
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp, warps = static_cast<int>(blockDim.x) / kWarp;
  Ring<Tile> ring{dynamic_shared<std::byte>() + warp * kSlots * Tile::kSlotBytes};
  float* const partial = reinterpret_cast<float*>(dynamic_shared<std::byte>() + warps * kSlots * Tile::kSlotBytes);  // [k, 16]
  std::int32_t* const order = reinterpret_cast<std::int32_t*>(partial + a.choices.k * kTileRows);
  const std::int64_t token = blockIdx.x / static_cast<unsigned>(a.row_tiles), row_0 = blockIdx.x % static_cast<unsigned>(a.row_tiles) * kTileRows;
  const int count = order_choices(a.choices, token, order);
  const auto pair_of = [&](int choice) { return token * a.choices.k + order[choice]; };
  const auto rows_of = [&](int choice) {
    const WeightRows expert = of_expert(a.first, a.choices.ids[pair_of(choice)] * a.expert_bytes);
    return MatvecRows{expert, expert, row_0, row_0 + 8, row_0 > 0 && row_0 + kTileRows < a.first.rows};
  };
  int next_choice = warp, next_slice = 0;
  const auto load_next = [&] {
    if (next_choice < count) {
      Tile::load(ring.next_to_fill(), next_slice, rows_of(next_choice), one_token<Tile>(a, pair_of(next_choice)));
      if (++next_slice == a.slices) next_slice = 0, next_choice += warps;
    }
    copy_async_commit();
  };
  load_next();
  for (int choice = warp; choice < count; choice += warps) {
    const MatvecRows rows = rows_of(choice);
    const float weight = a.choices.weights[pair_of(choice)];
    float sums[4] = {};
    for (int slice = 0; slice < a.slices; ++slice) {
      load_next();
      copy_async_wait<kSlots - 1>();
      __syncwarp();
      Tile::multiply(ring.next_to_read(), slice, rows, one_token<Tile>(a, pair_of(choice)), sums);
      __syncwarp();
    }
    Tile::gather(sums);
    if (lane % 4 == 0) partial[choice * kTileRows + lane / 4] = weight * sums[0], partial[choice * kTileRows + 8 + lane / 4] = weight * sums[2];
  }
  __syncthreads();
  if (threadIdx.x >= kTileRows || row_0 + threadIdx.x >= out.dim) return;
  float sum = 0;
  for (int choice = 0; choice < count; ++choice) sum += partial[choice * kTileRows + threadIdx.x];
  out.row(token)[row_0 + threadIdx.x] = sum;
}

Experts experts_of(const Choices& choices, const Tensor& first, const Tensor& second, ConstRows x, int slice, int rows_per_tile) {
  return {choices, weight_rows(first.expert(0)), weight_rows(second.expert(0)), first.rows() * first.row_stride(), view(x),
          static_cast<int>((x.dim + slice - 1) / slice), static_cast<int>(blocks_for(first.rows(), rows_per_tile)), in_fours(x)};
}

// Warps of a block whose other shared memory is `others` bytes and `each` per warp.
int warps_for(Context& ctx, std::size_t each, std::size_t others, int useful) {
  return std::min({kMostWarps, useful, static_cast<int>((ctx.device->facts().shared_bytes - others) / each)});
}

void note(Context& ctx, const Tensor& weight) { ctx.counters.path(std::string("matmul.") + name(weight.dtype), "matvec-mma-bf16"); }

}  // namespace

void matvec_gate_up(Context& ctx, const MoeExperts& moe, const Choices& choices, float* inner) {
  const Range range(ctx.trace, "moe.gate_up");
  note(ctx, moe.gate);
  dispatch(moe.gate.dtype, [&]<DType kType>() {
    if constexpr (kType != DType::kF32) {
      using Tile = MatvecTile<kType, 1>;
      const Experts a = experts_of(choices, moe.gate, moe.up, moe.x, Tile::kSlice, kTileRows / 2);
      const std::int64_t tiles = moe.x.rows * choices.k * a.row_tiles;
      if (tiles > std::numeric_limits<std::int32_t>::max())
        throw std::invalid_argument("moe_experts: asked for " + std::to_string(tiles) + " tiles of eight rows, a pass may have 2147483647; use a shorter pass");
      const std::size_t each = kSlots * Tile::kSlotBytes + kTileRows * sizeof(float);
      const auto warps = static_cast<unsigned>(warps_for(ctx, each, 0, a.slices));
      const std::int64_t blocks = std::min<std::int64_t>(tiles, ctx.device->facts().multiprocessors * kBlocksPerMultiprocessor);
      launch(ctx, "moe.gate_up", gate_up_kernel<kType>, {dim3(static_cast<unsigned>(blocks)), dim3(warps * kWarp), warps * each}, a, static_cast<unsigned>(tiles),
             inner);
    }
  });
}

void matvec_down(Context& ctx, const MoeExperts& moe, const Choices& choices, const float* inner, Rows out) {
  const Range range(ctx.trace, "moe.down");
  note(ctx, moe.down);
  dispatch(moe.down.dtype, [&]<DType kType>() {
    if constexpr (kType != DType::kF32) {
      using Tile = MatvecTile<kType, 1>;
      const Experts a = experts_of(choices, moe.down, moe.down, {inner, out.rows * choices.k, moe.down.cols()}, Tile::kSlice, kTileRows);
      const std::size_t each = kSlots * Tile::kSlotBytes, others = static_cast<std::size_t>(choices.k) * (kTileRows * sizeof(float) + 2 * sizeof(std::int32_t));
      const auto warps = static_cast<unsigned>(warps_for(ctx, each, others, choices.k));
      launch(ctx, "moe.down", down_kernel<kType>, {dim3(static_cast<unsigned>(out.rows * a.row_tiles)), dim3(warps * kWarp), warps * each + others}, a, view(out));
    }
  });
}

}  // namespace crossover::cuda::moe
