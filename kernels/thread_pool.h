// The workers of one rank: standing threads that wait for work by spinning for some microseconds, then asleep. A hand-over of work
// costs about a microsecond while they spin (bench/micro/thread_pool_bench.cpp), because a decoded token takes hundreds of them.
#pragma once

#include <sched.h>

#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

namespace crossover {

std::vector<int> allowed_cpus();  // of the calling thread's affinity mask, ascending

class ThreadPool {
 public:
  struct Options {
    std::vector<int> cpus;       // worker i stays on cpus[i]; empty: wherever the system puts them. Has an entry for every worker
    bool cores_are_shared = false;  // with workers of other pools: waiting ones sleep at once
  };

  // threads >= 1, the calling thread included.
  explicit ThreadPool(int threads) : ThreadPool(threads, Options{}) {}
  ThreadPool(int threads, Options options);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return threads_; }

  // Index of the calling thread inside the innermost parallel_for around it: 0 .. threads() - 1 of that pool; 0 outside.
  static int worker();

  // Calls body(begin, end) over disjoint ranges that cover [0, count), each of at most `grain` items, and returns when all are
  // done. Ranges depend on count and grain alone, never on the number of threads, so results that depend on ranges only are
  // the same for any thread count. Every worker has a run of neighbouring ranges and helps the others when its own are done.
  // The first exception of a body is rethrown; ranges not begun then are left out. Inside a body of the same pool it runs on the
  // calling worker alone. Two threads must not call at once (std::logic_error).
  template <class Body>
  void parallel_for(std::int64_t count, std::int64_t grain, Body&& body) {
    using Fn = std::remove_reference_t<Body>;
    run(count, grain, [](void* fn, std::int64_t begin, std::int64_t end) { (*static_cast<Fn*>(fn))(begin, end); },
        const_cast<void*>(static_cast<const void*>(&body)));
  }

  // From now on parallel_for returns at once and calls nothing: what an operation asks for before it goes parallel is all it does.
  void rehearse(bool rehearses) { rehearses_ = rehearses; }

  // The calling thread stays on worker 0's cpu while this lives; nothing where the pool has no cpus.
  class CallerPin {
   public:
    explicit CallerPin(const ThreadPool& pool);
    ~CallerPin();
    CallerPin(const CallerPin&) = delete;
    CallerPin& operator=(const CallerPin&) = delete;

   private:
    cpu_set_t before_;
    bool pinned_ = false;
  };

 private:
  using RangeFn = void (*)(void*, std::int64_t, std::int64_t);

  struct Job {
    std::int64_t count, grain, ranges;
    RangeFn fn;
    void* body;
    void operator()(std::int64_t range) const;
  };

  // The ranges of one worker, which others help with too.
  struct alignas(64) Share {
    std::atomic<std::int64_t> next{0};
    std::int64_t end = 0;
  };

  void run(std::int64_t count, std::int64_t grain, RangeFn fn, void* body);
  void serve(int index);
  void stop();
  void publish(const Job& job);
  void take(int index);
  void join();
  bool wait_for_work(std::uint32_t seen);
  template <class Condition>
  bool spin(Condition condition) const;

  // One word that all wait on: workers inside the region (16 bits), whether it may still be entered, its number (15 bits).
  // A worker enters by adding one while the region is open, so one that comes late cannot touch a region that has ended.
  alignas(64) std::atomic<std::uint32_t> state_{0};
  alignas(64) std::atomic<int> asleep_{0};
  std::atomic<bool> caller_asleep_{false}, stopping_{false}, busy_{false}, failed_{false};
  Job job_{};                  // changes only while nobody is inside
  std::exception_ptr failure_;
  bool rehearses_ = false;     // read by the calling thread alone
  std::unique_ptr<Share[]> shares_;
  const int threads_;
  const Options options_;
  const bool spins_;
  std::vector<std::thread> workers_;
};

}  // namespace crossover
