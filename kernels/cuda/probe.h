// What a GPU gives at most, measured by loops that do nothing else: the ceilings that kernels are held against.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/ops.h"

namespace crossover::cuda {

// Reads `bytes` (a multiple of 16) of device memory once. Time it over more than the L2 cache holds.
void read_all(Context&, const std::byte* memory, std::int64_t bytes);

// Products of tensor cores by mma.sync (bf16, f32 sums) from registers, on every multiprocessor; returns the operations of the launch. wgmma,
// which reaches more on Hopper, is not what the kernels use.
std::int64_t multiply_all(Context&, std::int64_t rounds);

}  // namespace crossover::cuda
