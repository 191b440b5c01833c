// What it costs to give work to the standing workers: a region of one empty range per thread, and one in which all must meet.
#include <benchmark/benchmark.h>

#include <atomic>

#include "kernels/thread_pool.h"

namespace crossover {
namespace {

void empty_region(benchmark::State& state) {
  ThreadPool pool(static_cast<int>(state.range(0)));
  for (auto _ : state) pool.parallel_for(state.range(0), 1, [](std::int64_t, std::int64_t) {});
}

// Every range waits until all threads are inside: the time until the last one has heard of the work and reported back.
void meeting_region(benchmark::State& state) {
  const auto threads = static_cast<int>(state.range(0));
  ThreadPool pool(threads);
  for (auto _ : state) {
    std::atomic<int> inside = 0;
    pool.parallel_for(threads, 1, [&](std::int64_t, std::int64_t) {
      inside.fetch_add(1);
      while (inside.load() < threads) {}
    });
  }
}

BENCHMARK(empty_region)->ArgName("threads")->DenseRange(1, 2)->UseRealTime()->Repetitions(9)->ReportAggregatesOnly();
BENCHMARK(meeting_region)->ArgName("threads")->Arg(2)->UseRealTime()->Repetitions(9)->ReportAggregatesOnly();

}  // namespace
}  // namespace crossover
