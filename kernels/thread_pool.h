// The workers of one rank. Work stealing and parking are oneTBB's; this wrapper keeps its headers out of ours and adds the
// happens-before edges that ThreadSanitizer cannot see inside the library.
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>

namespace crossover {

class ThreadPool {
 public:
  explicit ThreadPool(int threads);  // >= 1, the calling thread included
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return threads_; }

  // Index of the calling thread inside a parallel_for of this pool: 0 .. threads() - 1; 0 outside.
  static int worker();

  // Calls body(begin, end) over disjoint ranges that cover [0, count), each of at most `grain` items, and returns when all are
  // done. Ranges depend on count and grain alone, never on the number of threads, so results that depend on ranges only are
  // the same for any thread count. The first exception of a body is rethrown.
  template <class Body>
  void parallel_for(std::int64_t count, std::int64_t grain, Body&& body) {
    using Fn = std::remove_reference_t<Body>;
    run(count, grain, [](void* fn, std::int64_t begin, std::int64_t end) { (*static_cast<Fn*>(fn))(begin, end); },
        const_cast<void*>(static_cast<const void*>(&body)));
  }

 private:
  using RangeFn = void (*)(void*, std::int64_t, std::int64_t);
  void run(std::int64_t count, std::int64_t grain, RangeFn fn, void* body);

  struct Arena;
  std::unique_ptr<Arena> arena_;
  int threads_;
};

}  // namespace crossover
