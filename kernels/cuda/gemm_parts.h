// What the kernels of many tokens share (gemm.cu by warps, gemm_warpgroup.cu by warpgroups): arguments, where the sums of a tile go, parts of K.
#pragma once

#include "kernels/cuda/gemm_tile.h"
#include "kernels/cuda/linear.h"
#include "kernels/cuda/view.h"

namespace crossover::cuda {

struct GemmArguments {
  const Bf16* x;
  std::int64_t x_stride, values;
  WeightRows weight, up;
  View<float> out;
  float* partial;       // [splits, 1 or 2 (gate, up), tokens, rows], or null: one split, straight to out
  int slices_per_split;
};

// Of neighbouring values those that there are, at once where the address allows it.
template <int N>
__device__ __forceinline__ void store_some(float* to, const Values<N>& x, std::int64_t left) {
  if (left >= N && reinterpret_cast<std::uintptr_t>(to) % (N * sizeof(float)) == 0) {
    if constexpr (N == 4) store<4>(to, x);
    else *reinterpret_cast<float2*>(to) = make_float2(x.v[0], x.v[1]);
    return;
  }
#pragma unroll
  for (int i = 0; i < N; ++i)
    if (i < left) to[i] = x.v[i];
}

// The sums of a GemmTile: its part of out, or of what add_splits is to add.
template <bool kPaired, class Tile>
__device__ __forceinline__ void leave_sums(const GemmArguments& a, const Tile& tile, std::int64_t token_0, std::int64_t row_0, int split) {
  const auto partial = [&](int which, int row, int token) {
    return a.partial + ((split * (kPaired ? 2 : 1) + which) * a.out.rows + token_0 + token) * a.out.dim + row_0 + row;
  };
  const bool inside = token_0 + Tile::kTokens <= a.out.rows && row_0 + Tile::kRows <= a.out.dim;
  if constexpr (kPaired) {
    const auto gated = [](const Values<2>& gate, const Values<2>& up) { return Values<2>{{silu(gate.v[0]) * up.v[0], silu(gate.v[1]) * up.v[1]}}; };
    if (inside && !a.partial && a.out.stride % 2 == 0 && reinterpret_cast<std::uintptr_t>(a.out.data) % sizeof(float2) == 0)
      return tile.each([&](int row, int token, const Values<2>& gate, const Values<2>& up) {
        const Values<2> x = gated(gate, up);
        *reinterpret_cast<float2*>(a.out.row(token_0 + token) + row_0 + row) = make_float2(x.v[0], x.v[1]);
      });
    tile.each([&](int row, int token, const Values<2>& gate, const Values<2>& up) {
      if (token_0 + token >= a.out.rows) return;
      const std::int64_t left = a.out.dim - row_0 - row;
      if (a.partial) store_some(partial(0, row, token), gate, left), store_some(partial(1, row, token), up, left);
      else store_some(a.out.row(token_0 + token) + row_0 + row, gated(gate, up), left);
    });
  } else {
    if (inside && !a.partial && a.out.stride % 4 == 0 && reinterpret_cast<std::uintptr_t>(a.out.data) % sizeof(float4) == 0)
      return tile.each([&](int row, int token, const Values<4>& sum) { store<4>(a.out.row(token_0 + token) + row_0 + row, sum); });
    tile.each([&](int row, int token, const Values<4>& sum) {
      if (token_0 + token < a.out.rows)
        store_some(a.partial ? partial(0, row, token) : a.out.row(token_0 + token) + row_0 + row, sum, a.out.dim - row_0 - row);
    });
  }
}

// Before a product: into how many parts its K goes, splits or, with 0, as split_gemm says, with memory for their sums. Behind it: the parts are added.
int begin_parts(Context&, GemmArguments&, bool paired, int splits, const GemmShape& shape);
void end_parts(Context&, const GemmArguments&, bool paired, int splits);

// gemm_warpgroup.cu; tokens of its tiles.
inline constexpr std::int64_t kGroupTokens = 128;
void gemm_by_warpgroups(Context&, const GemmArguments&, DType type, bool paired, int splits);

}  // namespace crossover::cuda
