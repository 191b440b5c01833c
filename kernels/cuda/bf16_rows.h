// Activations as the tensor cores read them: bf16 in quad order (blocks.h), or as they are for cuBLASLt; rows padded with zeros to whole steps of
// gemm_tile.h.
#pragma once

#include "kernels/cuda/gemm_tile.h"
#include "kernels/ops.h"

namespace crossover::cuda {

inline std::int64_t bf16_stride(std::int64_t values) { return (values + kStepValues - 1) / kStepValues * kStepValues; }
inline std::size_t bf16_bytes(std::int64_t rows, std::int64_t values) { return static_cast<std::size_t>(rows * bf16_stride(values)) * sizeof(Bf16); }

// Where value k of a row lies.
__host__ __device__ constexpr std::int64_t bf16_at(std::int64_t k) { return k / kGroupValues * kGroupValues + quad_position(static_cast<int>(k % kGroupValues)); }

enum class Bf16Order : std::uint8_t { kQuad, kPlain };
void to_bf16_rows(Context&, ConstRows x, Bf16* out, Bf16Order order = Bf16Order::kQuad);  // [x.rows, bf16_stride(x.dim)], 16-byte aligned

}  // namespace crossover::cuda
