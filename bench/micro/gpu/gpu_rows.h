#pragma once

namespace crossover::micro_bench {

// Registers the benchmarks of the cuda backend. Their labels name the ceiling that bounds them: of "ceiling/read" (memory) or of
// "ceiling/mma_bf16" (bf16), which are the first two.
void add_gpu_rows();

}  // namespace crossover::micro_bench
