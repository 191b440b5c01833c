// Many tokens: gemm_tile.h over the whole matrix.
// Bound: 2 T N K flops at the rate of mma.sync (about 0.62 of the tensor peak on sm_90), or reading the weights once when T is small.
// Blocks that share weights are neighbours in the grid, so that a matrix passes through the cache once however many tiles of tokens there are.
#include "kernels/cuda/bf16_rows.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/linear.h"
#include "kernels/cuda/view.h"

namespace crossover::cuda {
namespace {

constexpr int kWarps = 4;

struct GemmArguments {
  const Bf16* x;
  std::int64_t x_stride, values;
  WeightRows weight, up;
  View<float> out;
};

template <DType kType, int kTokenTiles, bool kPaired>
__global__ void __launch_bounds__(kWarps* kWarp) gemm_kernel(GemmArguments a) {
  using Tile = GemmTile<kType, kTokenTiles, kWarps, kPaired>;
  const std::int64_t token_0 = static_cast<std::int64_t>(blockIdx.x) * Tile::kTokens, row_0 = static_cast<std::int64_t>(blockIdx.y) * Tile::kRows;
  Tile tile;
  tile.run(dynamic_shared<std::byte>(), a.values, a.weight, a.up, row_0,
           [&](int token) { return token_0 + token < a.out.rows ? a.x + (token_0 + token) * a.x_stride : nullptr; });
  const auto inside = [&](int row, int token) { return row_0 + row < a.out.dim && token_0 + token < a.out.rows; };
  if constexpr (kPaired)
    tile.each([&](int row, int token, float gate, float up) {
      if (inside(row, token)) a.out.row(token_0 + token)[row_0 + row] = silu(gate) * up;
    });
  else
    tile.each([&](int row, int token, float sum) {
      if (inside(row, token)) a.out.row(token_0 + token)[row_0 + row] = sum;
    });
}

template <DType kType, int kTokenTiles, bool kPaired>
void launch_gemm(Context& ctx, const GemmArguments& a) {
  using Tile = GemmTile<kType, kTokenTiles, kWarps, kPaired>;
  launch(ctx, "gemm", gemm_kernel<kType, kTokenTiles, kPaired>,
         {dim3(blocks_for(a.out.rows, Tile::kTokens), blocks_for(a.out.dim, Tile::kRows)), dim3(Tile::kThreads), Tile::kSharedBytes}, a);
}

template <DType kType, bool kPaired>
void choose_tokens(Context& ctx, const GemmArguments& a) {
  if (a.out.rows <= 16) launch_gemm<kType, 2, kPaired>(ctx, a);
  else if (a.out.rows <= 64) launch_gemm<kType, 8, kPaired>(ctx, a);
  else launch_gemm<kType, 16, kPaired>(ctx, a);
}

}  // namespace

void gemm(Context& ctx, const Bf16* x, const Projection& p) {
  const bool paired = p.up.data != nullptr;
  const GemmArguments a{x, bf16_stride(p.weight.cols()), p.weight.cols(), weight_rows(p.weight), weight_rows(paired ? p.up : p.weight), view(p.out)};
  dispatch(p.weight.dtype, [&]<DType kType>() {
    if constexpr (tuned(kType)) paired ? choose_tokens<kType, true>(ctx, a) : choose_tokens<kType, false>(ctx, a);
    else if constexpr (kType != DType::kF32) launch_gemm<kType, 8, false>(ctx, a);
  });
}

}  // namespace crossover::cuda
