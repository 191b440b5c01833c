// Who multiplies many tokens by bf16 weights on a GPU: cuBLASLt or our kernel (CROSSOVER_CUDA_GEMM).
#pragma once

#include <memory>
#include <string>

#include "engine/knobs.h"
#include "engine/load/shard_plan.h"
#include "kernels/cuda/cublaslt.h"

namespace crossover {

// std::invalid_argument where CROSSOVER_CUDA_GEMM=cublaslt cannot be.
void check_gemm(const Knobs& knobs, const std::string& backend);

bool multiplies_bf16(const RankPlan& plan);  // whether it has weights of such products

struct GemmChoice {
  std::unique_ptr<cuda::CublasLt> library;  // null: our kernel
  std::string path;                         // path.gemm of a result: "cublaslt", "own", or "own (no cuBLASLt that works)"
};

// For the current GPU. No library that works: std::runtime_error where it was asked for, our kernel where the choice was free.
GemmChoice choose_gemm(const Knobs& knobs, cuda::CublasLt::Options options);

}  // namespace crossover
