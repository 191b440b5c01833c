// Values as bfloat16 and back, for what travels between GPUs.
#pragma once

#include <cstdint>

#include "kernels/ops.h"

namespace crossover::cuda {

// n values in device memory, 16-byte aligned. Rounds to nearest, ties to even; back is exact.
void to_bf16(Context&, const float* from, std::uint16_t* to, std::int64_t n);
void from_bf16(Context&, const std::uint16_t* from, float* to, std::int64_t n);

}  // namespace crossover::cuda
