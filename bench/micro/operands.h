// What the benchmarks of operations share: a context on the best instruction set, filled memory, rates by kernels/cost.h.
#pragma once

#include <benchmark/benchmark.h>

#include <random>
#include <vector>

#include "kernels/cost.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/micro.h"
#include "kernels/ops.h"

namespace crossover::micro_bench {

class CpuContext {
 public:
  explicit CpuContext(int threads, cpu::Isa isa = cpu::best_isa())
      : pool_(threads), context_{cpu_ops(), pool_, workspace_, counters_, nullptr, &cpu::micro(isa)} {}
  CpuContext(const CpuContext&) = delete;
  CpuContext& operator=(const CpuContext&) = delete;
  operator Context&() { return context_; }

 private:
  ThreadPool pool_;
  Workspace workspace_;
  Counters counters_;
  Context context_;
};

inline std::vector<float> random_floats(std::int64_t count, float low = -1, float high = 1) {
  std::mt19937 random(1);
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) value = low + (high - low) * static_cast<float>(random() >> 8) * 0x1p-24f;
  return values;
}

inline benchmark::Counter rate(double per_iteration) {
  return {per_iteration, benchmark::Counter::kIsIterationInvariantRate, benchmark::Counter::kIs1000};
}

// Arithmetic and traffic of one iteration.
inline void report(benchmark::State& state, cost::Cost cost) {
  state.counters["flop/s"] = rate(static_cast<double>(cost.flops));
  state.counters["bytes/s"] = rate(static_cast<double>(cost.bytes));
}

}  // namespace crossover::micro_bench
