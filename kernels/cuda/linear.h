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
// with up: tuned types.
void gemm(Context&, const Bf16* x, const Projection& projection);

// Products in f32, weights of any type, rows of any length and address.
void f32_matmul(Context&, ConstRows x, const Tensor& weight, Rows out);

}  // namespace crossover::cuda
