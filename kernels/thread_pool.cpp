#include "kernels/thread_pool.h"

#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/parallel_for.h>
#include <oneapi/tbb/task_arena.h>

#include <algorithm>
#include <stdexcept>
#include <string>

#if defined(__SANITIZE_THREAD__)
#define CROSSOVER_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CROSSOVER_TSAN 1
#endif
#endif

#ifdef CROSSOVER_TSAN
extern "C" void __tsan_acquire(void* address);
extern "C" void __tsan_release(void* address);
#else
static void __tsan_acquire(void*) {}
static void __tsan_release(void*) {}
#endif

namespace crossover {
namespace tbb = oneapi::tbb;

struct ThreadPool::Arena {
  // Without the control, TBB would never start more workers than the machine has cores and an oversubscribed rank would
  // silently run narrower than the result says.
  explicit Arena(int threads)
      : control(tbb::global_control::max_allowed_parallelism,
                std::max(static_cast<std::size_t>(threads) + 1,
                         tbb::global_control::active_value(tbb::global_control::max_allowed_parallelism))),
        arena(threads, 1) {}
  tbb::global_control control;
  tbb::task_arena arena;
};

ThreadPool::ThreadPool(int threads) : threads_(threads) {
  if (threads < 1) throw std::invalid_argument("a thread pool needs at least 1 thread, asked for " + std::to_string(threads));
  if (threads > 1) arena_ = std::make_unique<Arena>(threads);
}

ThreadPool::~ThreadPool() = default;

int ThreadPool::worker() { return std::max(0, tbb::this_task_arena::current_thread_index()); }

void ThreadPool::run(std::int64_t count, std::int64_t grain, RangeFn fn, void* body) {
  if (count <= 0) return;
  grain = std::max<std::int64_t>(1, grain);
  const std::int64_t ranges = (count + grain - 1) / grain;
  auto call = [&](std::int64_t i) { fn(body, i * grain, std::min(count, (i + 1) * grain)); };
  if (!arena_ || ranges == 1) {
    for (std::int64_t i = 0; i < ranges; ++i) call(i);
    return;
  }
  __tsan_release(this);
  arena_->arena.execute([&] {
    tbb::parallel_for(std::int64_t{0}, ranges, [&](std::int64_t i) {
      __tsan_acquire(this);
      call(i);
      __tsan_release(this);
    }, tbb::simple_partitioner());
  });
  __tsan_acquire(this);
}

}  // namespace crossover
