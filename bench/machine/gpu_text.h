// The GPUs of this machine in a line of `doctor`.
#pragma once

#include <string>

#include "kernels/cuda/driver_facts.h"

namespace crossover {

std::string capability_text(int compute_capability);  // "9.0" of 90

// "8 x NVIDIA H200, compute capability 9.0, 140.4 GiB, 132 multiprocessors; driver 580.65.06, CUDA 13.0", kinds apart by semicolons; empty: no GPU.
std::string gpu_text(const cuda::DriverFacts& facts);

}  // namespace crossover
