#include "engine/gemm_choice.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace crossover {

void check_gemm(const Knobs& knobs, const std::string& backend) {
  if (knobs.get("CROSSOVER_CUDA_GEMM") == "cublaslt" && backend != "cuda")
    throw std::invalid_argument("CROSSOVER_CUDA_GEMM=cublaslt multiplies on GPUs, and the backend is " + backend + "; use auto or own");
}

bool multiplies_bf16(const RankPlan& plan) {
  return std::any_of(plan.tensors.begin(), plan.tensors.end(), [](const TensorShard& tensor) {
    return tensor.dtype == DType::kBF16 && tensor.shape[0] == 1 && tensor.shape[1] > 1 && tensor.place != "token_embd.weight";  // experts have a kernel of their own
  });
}

GemmChoice choose_gemm(const Knobs& knobs, cuda::CublasLt::Options options) {
  const std::string& wanted = knobs.get("CROSSOVER_CUDA_GEMM");
  if (wanted == "own") return {nullptr, "own"};
  options.must = wanted == "cublaslt";
  try {
    return {std::make_unique<cuda::CublasLt>(options), "cublaslt"};
  } catch (const std::runtime_error&) {  // `doctor` says why
    if (options.must) throw;
    return {nullptr, "own (no cuBLASLt that works)"};
  }
}

}  // namespace crossover
