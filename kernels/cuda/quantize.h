// Weights to Q6_K on the device, so that only bf16 rows cross the bus.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/tensor.h"

namespace crossover::cuda {

class Device;

// `values` values of type f32, f16 or bf16 (else std::invalid_argument), whole blocks of 256; all in device memory, `blocks` at an even
// address, row_bytes(kQ6_K, values) long. The bytes equal those of quantize_fn(kQ6_K), where all values of a block are finite.
// from_end (may be null) becomes `values` - i where it was less and i is the first value that is not finite: 0 stays where all are.
void quantize_q6_k(Device&, DType from, const std::byte* rows, std::int64_t values, std::byte* blocks, std::uint64_t* from_end = nullptr);

}  // namespace crossover::cuda
