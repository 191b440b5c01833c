#include "kernels/thread_pool.h"

#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/parallel_for.h>
#include <oneapi/tbb/task_arena.h>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

// A thread-sanitizer build compiles this file without instrumentation (kernels/CMakeLists.txt): Debian's oneTBB is not
// instrumented, so the sanitizer would take the library's own hand-over of tasks for races. Bodies live in other files and stay
// instrumented; the two calls tell the sanitizer what the library orders.
#ifdef CROSSOVER_TSAN
extern "C" void __tsan_acquire(void* address);
extern "C" void __tsan_release(void* address);
// Memory that the library compares and frees on threads it orders with its own atomics. It hides only calls made by the library
// itself, not what bodies do under it.
extern "C" const char* __tsan_default_suppressions();
extern "C" const char* __tsan_default_suppressions() { return "called_from_lib:libtbb.so\n"; }
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
        arena(threads, 1), slots(static_cast<std::size_t>(threads)) {}
  tbb::global_control control;
  tbb::task_arena arena;
  char started = 0, finished = 0;  // addresses for the sanitizer: a call before its items, the items before its return
  std::vector<char> slots;         // and the items of one worker index one after the other
};

namespace {

// Items of different workers stay unordered, so that a race between them is reported. Destroyed also when a body throws.
struct Ordered {
  Ordered(char& started, char& slot, char& finished) : slot_(slot), finished_(finished) {
    __tsan_acquire(&started);
    __tsan_acquire(&slot_);
  }
  ~Ordered() {
    __tsan_release(&slot_);
    __tsan_release(&finished_);
  }
  Ordered(const Ordered&) = delete;
  Ordered& operator=(const Ordered&) = delete;

 private:
  char& slot_;
  char& finished_;
};

}  // namespace

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
  Arena& shared = *arena_;
  __tsan_release(&shared.started);
  shared.arena.execute([&] {
    tbb::parallel_for(std::int64_t{0}, ranges, [&](std::int64_t i) {
      const Ordered ordered(shared.started, shared.slots[static_cast<std::size_t>(worker())], shared.finished);
      call(i);
    }, tbb::simple_partitioner());
  });
  __tsan_acquire(&shared.finished);
}

}  // namespace crossover
