// Rates of single operations: `crossover_micro --benchmark_filter=gdn`. Every line states what the operation had to do (flop/s,
// bytes/s by kernels/cost.h) beside its time, so that it can be held against the limits of the machine.
#include <benchmark/benchmark.h>

BENCHMARK_MAIN();
