// Weights to Q6_K on the device, so that only bf16 rows cross the bus.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/ops.h"

namespace crossover::cuda {

// `values` finite values of type f32, f16 or bf16 (else std::invalid_argument), whole blocks of 256; both in device memory, `blocks` at an even
// address, row_bytes(kQ6_K, values) long. The bytes equal those of quantize_fn(kQ6_K).
void quantize_q6_k(Context&, DType from, const std::byte* rows, std::int64_t values, std::byte* blocks);

}  // namespace crossover::cuda
