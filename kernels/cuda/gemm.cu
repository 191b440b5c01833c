// Many tokens: gemm_tile.h over the whole matrix; where a device is to multiply by warpgroups, gemm_warpgroup.cu instead.
// Bound: 2 T N K flops at the rate of mma.sync (about 0.62 of the tensor peak on sm_90), or reading the weights once when T is small.
// A grid that leaves multiprocessors idle (few rows, few tokens, a short last wave) splits K; the parts are added by a second kernel.
// Blocks that share weights are neighbours in the grid, so that a matrix passes through the cache once however many tiles of tokens there are.
#include <algorithm>

#include "kernels/cuda/bf16_rows.h"
#include "kernels/cuda/gemm_parts.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/linear.h"

namespace crossover::cuda {
namespace {

constexpr int kReduceThreads = 256;

template <DType kType, int kTokenTiles, int kWarps, bool kPaired>
__global__ void __launch_bounds__(kWarps* kWarp, kWarps == 8 ? 1 : 2) gemm_kernel(GemmArguments a) {
  wait_for_launches_before();
  using Tile = GemmTile<kType, kTokenTiles, kWarps, kPaired>;
  const std::int64_t token_0 = static_cast<std::int64_t>(blockIdx.x) * Tile::kTokens, row_0 = static_cast<std::int64_t>(blockIdx.y) * Tile::kRows;
  const int split = static_cast<int>(blockIdx.z);
  Tile tile;
  tile.run(dynamic_shared<std::byte>(), a.values, a.weight, a.up, row_0,
           [&](int token) { return token_0 + token < a.out.rows ? a.x + (token_0 + token) * a.x_stride : nullptr; }, Tile::kTokens, split * a.slices_per_split, (split + 1) * a.slices_per_split);
  leave_sums<kPaired>(a, tile, token_0, row_0, split);
}

// Splits are added in order: the same bits whichever block was last.
template <bool kPaired>
__global__ void __launch_bounds__(kReduceThreads) add_splits(const float* partial, int splits, View<float> out) {
  wait_for_launches_before();
  const std::int64_t values = out.rows * out.dim, i = static_cast<std::int64_t>(blockIdx.x) * kReduceThreads + threadIdx.x;
  if (i >= values) return;
  float sum = 0, up = 0;
  for (int s = 0; s < splits; ++s) {
    const float* const mine = partial + s * (kPaired ? 2 : 1) * values + i;
    sum += mine[0];
    if constexpr (kPaired) up += mine[values];
  }
  out.row(i / out.dim)[i % out.dim] = kPaired ? silu(sum) * up : sum;
}

template <DType kType, int kTokenTiles, int kWarps, bool kPaired>
void launch_gemm(Context& ctx, GemmArguments a, int splits) {
  using Tile = GemmTile<kType, kTokenTiles, kWarps, kPaired>;
  const DeviceFacts& facts = ctx.device->facts();
  const int slices = static_cast<int>((a.values + Tile::kSlice - 1) / Tile::kSlice);
  splits = begin_parts(ctx, a, kPaired, splits,
                       {.tokens = a.out.rows, .rows = a.out.dim, .values = a.values, .tile_tokens = Tile::kTokens, .tile_rows = Tile::kRows, .slices = slices,
                        .resident = facts.multiprocessors * blocks_that_fit(facts.shared_bytes, Tile::kSharedBytes)});
  launch(ctx, "gemm", gemm_kernel<kType, kTokenTiles, kWarps, kPaired>,
         {dim3(blocks_for(a.out.rows, Tile::kTokens), blocks_for(a.out.dim, Tile::kRows), static_cast<unsigned>(splits)), dim3(Tile::kThreads), Tile::kSharedBytes}, a);
  end_parts(ctx, a, kPaired, splits);
}

template <DType kType, bool kPaired>
void choose_tokens(Context& ctx, const GemmArguments& a, int splits) {
  const bool fits = ctx.device->facts().shared_bytes >= GemmTile<kType, 16, 8, kPaired>::kSharedBytes;
  if (a.out.rows <= 16) launch_gemm<kType, 2, 4, kPaired>(ctx, a, splits);
  else if (a.out.rows <= 64 || !fits) launch_gemm<kType, 8, 4, kPaired>(ctx, a, splits);
  else launch_gemm<kType, 16, 8, kPaired>(ctx, a, splits);
}

}  // namespace

GemmSplit split_gemm(const GemmShape& shape) {
  const auto ceil = [](std::int64_t a, std::int64_t b) { return (a + b - 1) / b; };
  const double weights = static_cast<double>(shape.rows) * static_cast<double>(shape.values), sums = static_cast<double>(shape.tokens) * static_cast<double>(shape.rows);
  const double ideal = std::max(kBytesPerWeight * weights, kBytesPerFlop * 2 * weights * static_cast<double>(shape.tokens));
  const std::int64_t blocks = ceil(shape.tokens, shape.tile_tokens) * ceil(shape.rows, shape.tile_rows);
  GemmSplit best{1, shape.slices};
  double best_cost = 0;
  for (int wanted = 1; wanted <= kMostSplits; ++wanted) {
    const auto each = static_cast<int>(ceil(shape.slices, wanted)), splits = static_cast<int>(ceil(shape.slices, each));
    if (splits != wanted || (wanted > 1 && each < 2)) continue;
    const std::int64_t waves = ceil(blocks * splits, shape.resident);
    const double filled = static_cast<double>(blocks * splits) / static_cast<double>(waves * shape.resident);
    const double cost = ideal / filled + (splits > 1 ? 8 * splits * sums + kLaunchBytes : 0);
    if (wanted == 1 || cost < best_cost) best = {splits, each}, best_cost = cost;
  }
  return best;
}

int begin_parts(Context& ctx, GemmArguments& a, bool paired, int splits, const GemmShape& shape) {
  GemmSplit split = split_gemm(shape);
  if (splits > 0) split = {splits, (shape.slices + splits - 1) / splits};
  a.slices_per_split = split.slices_each;
  if (split.splits > 1) a.partial = ctx.workspace.floats("gemm.partial", static_cast<std::size_t>(split.splits * (paired ? 2 : 1) * a.out.rows * a.out.dim));
  return split.splits;
}

void end_parts(Context& ctx, const GemmArguments& a, bool paired, int splits) {
  if (splits > 1)
    launch(ctx, "add_splits", paired ? add_splits<true> : add_splits<false>, {dim3(blocks_for(a.out.rows * a.out.dim, kReduceThreads)), dim3(kReduceThreads)}, a.partial,
           splits, a.out);
}

void gemm(Context& ctx, const Bf16* x, const Projection& p, int splits) {
  const bool paired = p.up.data != nullptr;
  const GemmArguments a{x, bf16_stride(p.weight.cols()), p.weight.cols(), weight_rows(p.weight), weight_rows(paired ? p.up : p.weight), view(p.out), nullptr, 0};
  if (by_warpgroups(*ctx.device, p.out.rows)) return gemm_by_warpgroups(ctx, a, p.weight.dtype, paired, splits);
  dispatch(p.weight.dtype, [&]<DType kType>() {
    if constexpr (tuned(kType)) paired ? choose_tokens<kType, true>(ctx, a, splits) : choose_tokens<kType, false>(ctx, a, splits);
    else if constexpr (kType != DType::kF32) launch_gemm<kType, 8, 4, false>(ctx, a, splits);
  });
}

}  // namespace crossover::cuda
