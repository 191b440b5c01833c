// The table of kernels: each beside the ceiling of its machine that bounds it and beside the same kernel of other programs.
#pragma once

#include <string>
#include <vector>

namespace crossover::micro_bench {

struct Cells {
  std::vector<std::string> head;
  std::vector<std::vector<std::string>> rows;  // each as long as the head
};

// Markdown. `run` is what crossover_micro writes: Google Benchmark's JSON with "ceilings" and "peers". Rows are the benchmarks
// that name an instruction set and a ceiling:
//   name   KERNEL/ISA/KEY:VALUE/...   "matmul/q6_k/avx512/M:512/N:4096/K:5120/threads:1"; everything else of the name is dropped
//   label  int8 | bf16 | f32 | memory: which ceiling
//   flop/s, bytes/s, and s/call: seconds of one call of the kernel
//   read_bytes/s: what a loop that only reads had in the same minutes; it stands in for the ceiling of memory
// Repetitions of a row count by their median. A peer's row is {"kernel": "matmul/q6_k", "shape": "M:512 N:4096 K:5120", "threads": 1,
// "seconds": of one call}; a shape that it does not have is an empty cell. std::runtime_error where a row cannot be read.
std::string kernel_table(const std::string& run);
Cells kernel_cells(const std::string& run);  // the same, not yet Markdown

// Of what `crossover_gpu_micro --benchmark_out` writes: rows beside the run's own ceilings, which are its rows "ceiling/..." with their labels.
Cells gpu_kernel_cells(const std::string& run);

// Rows of `peer` for which `run` has no kernel of that name, shape and number of threads.
std::vector<std::string> unmatched_rows(const std::string& run, const std::string& peer);

}  // namespace crossover::micro_bench
