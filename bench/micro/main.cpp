// Rates of single operations: `crossover_micro --benchmark_filter=gdn`.
#include <benchmark/benchmark.h>

BENCHMARK_MAIN();
