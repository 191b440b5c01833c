// gemm_tile.h over the tile map: a block takes a tile (an expert and up to 32 or 128 of its rows) and 64 rows of gate and of up, or 128 of down.
// Blocks of one tile are neighbours in the grid, and tiles of one expert after them: x comes from the L2 cache for all but the first of a tile's
// blocks, an expert's weights for all but its first tile. Blocks behind the end of the map return at once.
//
// Floors for 35B in Q6_K at 4.8 TB/s and the 620 TFLOP/s of mma.sync on sm_90: T = 512 (16 rows an expert) 440 MB of gate and up and 220 of down,
// 92 + 46 us: bound by bytes, and unpacking takes about four fifths of the issue slots of that time, so 70 % of bandwidth is to be expected;
// T = 4096 (128 rows) 137 + 69 GFLOP, 222 + 111 us, and 134 MB written by down, 28 us beside it: 60 to 70 % of that rate.
// Short tiles: 70 KB of shared memory and at most 168 registers x 128 threads, three blocks on a multiprocessor of sm_90 (two of sm_80) with 81 KB
// of weights under way. Tall ones: 92 KB and at most 255 registers, two blocks (one of sm_80).
#include "kernels/cuda/moe_gemm.h"

#include "kernels/cuda/bf16_rows.h"
#include "kernels/cuda/gemm_tile.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/linear.h"
#include "kernels/cuda/view.h"

namespace crossover::cuda::moe {
namespace {

constexpr int kWarps = 4;

struct GroupedGemm {
  TileList tiles;
  const std::int32_t* pair_at;
  const Bf16* x;
  std::int64_t x_stride, values;  // of x; K
  std::int32_t pairs_per_x;       // k where x lies by token, 0 where it lies by position
  WeightRows weight, up;          // of expert 0
  std::int64_t expert_bytes;
  std::int64_t row_blocks;        // blocks that share a tile
  Bf16* out;
  std::int64_t out_stride;
};

__device__ __forceinline__ WeightRows of_expert(const WeightRows& first, std::int64_t offset) {
  return {first.data + offset, first.end + offset, first.stride, first.rows};
}

// Blocks that shall fit on a multiprocessor: short tiles wait for weights, so that more of them hold more bytes under way.
constexpr int blocks_of(int token_tiles) { return token_tiles * 8 <= kShort ? 3 : 2; }

template <DType kType, int kTokenTiles, bool kPaired>
__global__ void __launch_bounds__(kWarps* kWarp, blocks_of(kTokenTiles)) grouped_gemm(GroupedGemm a) {
  wait_for_launches_before();
  using Product = GemmTile<kType, kTokenTiles, kWarps, kPaired>;
  __shared__ std::int32_t x_rows[Product::kTokens], out_rows[Product::kTokens];
  const std::int64_t index = blockIdx.x / a.row_blocks, row_0 = blockIdx.x % a.row_blocks * Product::kRows;
  if (index >= *a.tiles.count) return;
  const Tile tile = a.tiles.tiles[index];
  for (int i = static_cast<int>(threadIdx.x); i < tile.rows; i += Product::kThreads) {
    const int position = tile.first + i, pair = a.pair_at[position];
    x_rows[i] = a.pairs_per_x > 0 ? pair / a.pairs_per_x : position;
    out_rows[i] = kPaired ? position : pair;
  }
  __syncthreads();
  const std::int64_t offset = tile.expert * a.expert_bytes;
  Product product;
  product.run(dynamic_shared<std::byte>(), a.values, of_expert(a.weight, offset), of_expert(a.up, offset), row_0,
              [&](int token) { return token < tile.rows ? a.x + x_rows[token] * a.x_stride : nullptr; }, tile.rows);
  if constexpr (kPaired)
    product.each([&](int row, int token, const Values<2>& gate, const Values<2>& up) {
      if (token >= tile.rows) return;
      // Two neighbours from an even place on are neighbours in quad order as well.
      Bf16* const to = a.out + out_rows[token] * a.out_stride + bf16_at(row_0 + row);
      const float low = silu(gate.v[0]) * up.v[0], high = silu(gate.v[1]) * up.v[1];
      if (row_0 + row + 1 < a.weight.rows) *reinterpret_cast<unsigned*>(to) = pack_bf16(low, high);
      else if (row_0 + row < a.weight.rows) *to = to_bf16(low);
    });
  else
    product.each([&](int row, int token, const Values<4>& sum) {
      if (token >= tile.rows) return;
      Bf16* const to = a.out + out_rows[token] * a.out_stride + row_0 + row;
      const std::int64_t left = a.weight.rows - row_0 - row;
      if (left >= 4 && a.out_stride % 4 == 0) {
        *reinterpret_cast<uint2*>(to) = make_uint2(pack_bf16(sum.v[0], sum.v[1]), pack_bf16(sum.v[2], sum.v[3]));
        return;
      }
#pragma unroll
      for (int i = 0; i < 4; ++i)
        if (i < left) to[i] = to_bf16(sum.v[i]);
    });
}

template <DType kType, int kTokenTiles, bool kPaired>
void launch_tiles(Context& ctx, const char* name, GroupedGemm a) {
  using Product = GemmTile<kType, kTokenTiles, kWarps, kPaired>;
  if (a.tiles.most == 0) return;
  a.row_blocks = blocks_for(a.weight.rows, Product::kRows);
  launch(ctx, name, grouped_gemm<kType, kTokenTiles, kPaired>,
         {dim3(static_cast<unsigned>(a.tiles.most * a.row_blocks)), dim3(Product::kThreads), Product::kSharedBytes}, a);
}

template <bool kPaired>
void multiply(Context& ctx, const char* name, const Dispatch& pairs, GroupedGemm a, const Tensor& weight) {
  a.expert_bytes = weight.rows() * weight.row_stride();
  dispatch(weight.dtype, [&]<DType kType>() {
    if constexpr (kType != DType::kF32) {
      a.tiles = pairs.tiles[0];
      launch_tiles<kType, kShort / 8, kPaired>(ctx, name, a);
      if constexpr (tuned(kType)) {
        a.tiles = pairs.tiles[1];
        launch_tiles<kType, kTallest / 8, kPaired>(ctx, name, a);
      }
    }
  });
  ctx.counters.path(std::string("matmul.") + crossover::name(weight.dtype), "gemm-mma-bf16");
}

}  // namespace

int tallest_tile(const MoeExperts& moe) { return tuned(moe.gate.dtype) && tuned(moe.down.dtype) ? kTallest : kShort; }

void grouped_gate_up(Context& ctx, const Dispatch& dispatch, const MoeExperts& moe, const Bf16* x, Bf16* inner) {
  const Range range(ctx.trace, "moe.gate_up");
  const auto k = static_cast<std::int32_t>(static_cast<std::int64_t>(moe.ids.size()) / moe.x.rows);
  multiply<true>(ctx, "moe.gate_up", dispatch,
                 {{}, dispatch.pair_at, x, bf16_stride(moe.x.dim), moe.x.dim, k, weight_rows(moe.gate.expert(0)), weight_rows(moe.up.expert(0)), 0, 0, inner,
                  bf16_stride(moe.gate.rows())},
                 moe.gate);
}

void grouped_down(Context& ctx, const Dispatch& dispatch, const MoeExperts& moe, const Bf16* inner, Bf16* expert_out) {
  const Range range(ctx.trace, "moe.down");
  const WeightRows rows = weight_rows(moe.down.expert(0));
  multiply<false>(ctx, "moe.down", dispatch,
                  {{}, dispatch.pair_at, inner, bf16_stride(moe.down.cols()), moe.down.cols(), 0, rows, rows, 0, 0, expert_out, moe.down.rows()}, moe.down);
}

}  // namespace crossover::cuda::moe
