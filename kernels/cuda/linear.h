// The kernels behind matmul and matmuls (matmul.cu chooses).
#pragma once

#include <span>

#include "kernels/cuda/blocks.h"
#include "kernels/ops.h"

namespace crossover::cuda {

// The types of the models measured have tiles for every number of tokens and for gated pairs; the others one of each kernel, to keep
// the compilation short.
constexpr bool tuned(DType type) { return type == DType::kQ6_K || type == DType::kBF16; }

// Up to this many tokens matvec is the kernel.
inline constexpr std::int64_t kMatvecTokens = 8;

// Products of the same x [T <= kMatvecTokens, K] by weights of one type, in one launch. in_units(weights); an up has its weight's type.
void matvec(Context&, ConstRows x, std::span<const Projection> projections);

// out = x weight^T, or silu(x weight^T) * (x up^T) where up has memory; x [out.rows, weight.cols()] as to_bf16_rows leaves it. in_units(weight);
// with up: tuned types. splits: of K, 0: as split_gemm says.
void gemm(Context&, const Bf16* x, const Projection& projection, int splits = 0);

// Whether gemm multiplies by warpgroups (gemm_warpgroup.cu): on a device that is to, more tokens than half a tile has there.
bool by_warpgroups(const Device& device, std::int64_t tokens);

// Into how many parts of K a product is split, each of whole slices of GemmTile.
struct GemmShape {
  std::int64_t tokens, rows, values;        // T, N, K
  std::int64_t tile_tokens, tile_rows;      // of a block
  int slices, resident;                     // of K; blocks that the device holds at a time
};
struct GemmSplit { int splits, slices_each; };
GemmSplit split_gemm(const GemmShape& shape);

// Costs of split_gemm, in bytes of device memory on a GPU of Hopper's proportions (4.8 TB/s beside 400 TFLOP/s of mma.sync): only their ratios count.
inline constexpr double kBytesPerWeight = 0.82, kBytesPerFlop = 0.012, kLaunchBytes = 14e6;  // a launch: 3 us
inline constexpr int kMostSplits = 12;

// Blocks of so many bytes on a multiprocessor, of which a block may have shared_bytes at most and each costs 1 KiB more.
constexpr int blocks_that_fit(std::size_t shared_bytes, std::size_t block_bytes) {
  const std::size_t fit = (shared_bytes + 1024) / (block_bytes + 1024);
  return fit < 1 ? 1 : static_cast<int>(fit);
}

// Products in f32 of the same x, of any length and address: weights of one plain type, or x without values. No ups.
void f32_matmul(Context&, ConstRows x, std::span<const Projection> projections);

}  // namespace crossover::cuda
