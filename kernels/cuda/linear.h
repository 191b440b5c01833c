// The kernels behind matmul and matmuls (matmul.cu chooses).
#pragma once

#include "kernels/cuda/blocks.h"
#include "kernels/ops.h"

namespace crossover::cuda {

// out = x weight^T, or silu(x weight^T) * (x up^T) where up has memory; x [out.rows, weight.cols()] as to_bf16_rows leaves it. in_units(weight).
void gemm(Context&, const Bf16* x, const Projection& projection);

// Products in f32, weights of any type, rows of any length and address.
void f32_matmul(Context&, ConstRows x, const Tensor& weight, Rows out);

}  // namespace crossover::cuda
