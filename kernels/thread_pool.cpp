#include "kernels/thread_pool.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

namespace crossover {
namespace {

constexpr std::uint32_t kInside = 0xffff, kOpen = 0x10000, kNumber = ~(kInside | kOpen), kOne = 0x20000;

// Longer than the gaps between the operations of a pass, short enough to leave the core to others between passes.
constexpr std::chrono::microseconds kSpin{60};

// Where the calling thread is.
struct Place {
  const ThreadPool* pool = nullptr;
  int index = 0;
};
thread_local Place place;

struct PlaceGuard {
  explicit PlaceGuard(Place inside) : before(std::exchange(place, inside)) {}
  ~PlaceGuard() { place = before; }
  PlaceGuard(const PlaceGuard&) = delete;
  PlaceGuard& operator=(const PlaceGuard&) = delete;
  Place before;
};

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

void stay_on(pthread_t thread, int cpu) {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  CPU_SET(static_cast<std::size_t>(cpu), &mask);
  if (const int error = pthread_setaffinity_np(thread, sizeof mask, &mask); error != 0)
    throw std::system_error(error, std::generic_category(), "asked to keep a worker on cpu " + std::to_string(cpu));
}

}  // namespace

std::vector<int> allowed_cpus() {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  std::vector<int> cpus;
  if (pthread_getaffinity_np(pthread_self(), sizeof mask, &mask) != 0) return cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(static_cast<std::size_t>(cpu), &mask)) cpus.push_back(cpu);
  return cpus;
}

ThreadPool::ThreadPool(int threads, Options options)
    : threads_(threads), options_(std::move(options)), spins_(!options_.cores_are_shared && threads <= static_cast<int>(allowed_cpus().size())) {
  if (threads < 1 || threads > static_cast<int>(kInside))
    throw std::invalid_argument("a thread pool needs 1 to " + std::to_string(kInside) + " threads, asked for " + std::to_string(threads));
  if (!options_.cpus.empty() && options_.cpus.size() != static_cast<std::size_t>(threads))
    throw std::invalid_argument("a thread pool of " + std::to_string(threads) + " threads was given " + std::to_string(options_.cpus.size()) + " cpus");
  shares_ = std::make_unique<Share[]>(static_cast<std::size_t>(threads));
  try {
    for (int i = 1; i < threads; ++i) workers_.emplace_back([this, i] { serve(i); });
    for (std::size_t i = 1; i < options_.cpus.size(); ++i) stay_on(workers_[i - 1].native_handle(), options_.cpus[i]);
  } catch (...) {
    stop();
    throw;
  }
}

ThreadPool::~ThreadPool() { stop(); }

void ThreadPool::stop() {
  stopping_.store(true);
  state_.fetch_add(kOne);
  state_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

int ThreadPool::worker() { return place.index; }

void ThreadPool::Job::operator()(std::int64_t range) const { fn(body, range * grain, std::min(count, (range + 1) * grain)); }

void ThreadPool::run(std::int64_t count, std::int64_t grain, RangeFn fn, void* body) {
  if (count <= 0 || rehearses_) return;
  grain = std::max<std::int64_t>(1, grain);
  const Job job{count, grain, (count + grain - 1) / grain, fn, body};
  const bool nested = place.pool == this;
  const PlaceGuard guard(nested ? place : Place{this, 0});
  if (nested || threads_ == 1 || job.ranges == 1) {
    for (std::int64_t i = 0; i < job.ranges; ++i) job(i);
    return;
  }
  if (busy_.exchange(true, std::memory_order_acquire)) throw std::logic_error("two threads gave work to one thread pool at once");
  publish(job);
  take(0);
  join();
  failed_.store(false, std::memory_order_relaxed);
  const std::exception_ptr failure = std::exchange(failure_, nullptr);
  busy_.store(false, std::memory_order_release);
  if (failure) std::rethrow_exception(failure);
}

void ThreadPool::publish(const Job& job) {
  job_ = job;
  for (std::int64_t i = 0; i < threads_; ++i) {
    shares_[static_cast<std::size_t>(i)].next.store(job.ranges * i / threads_, std::memory_order_relaxed);
    shares_[static_cast<std::size_t>(i)].end = job.ranges * (i + 1) / threads_;
  }
  state_.store(((state_.load(std::memory_order_relaxed) + kOne) & kNumber) | kOpen);
  if (asleep_.load() > 0) state_.notify_all();  // after the store in the one order of both, so no sleeper is missed
}

// The worker's own ranges, then what is left of the others'.
void ThreadPool::take(int index) {
  try {
    for (int i = 0; i < threads_; ++i) {
      Share& share = shares_[static_cast<std::size_t>((index + i) % threads_)];
      while (!failed_.load(std::memory_order_relaxed) && share.next.load(std::memory_order_relaxed) < share.end) {
        const std::int64_t range = share.next.fetch_add(1, std::memory_order_relaxed);
        if (range < share.end) job_(range);
      }
    }
  } catch (...) {
    if (!failed_.exchange(true)) failure_ = std::current_exception();
  }
}

template <class Condition>
bool ThreadPool::spin(Condition condition) const {
  if (!spins_ || condition()) return condition();
  for (const auto end = std::chrono::steady_clock::now() + kSpin; std::chrono::steady_clock::now() < end;)
    for (int i = 0; i < 32; ++i) {
      if (condition()) return true;
      relax();
    }
  return condition();
}

void ThreadPool::join() {
  state_.fetch_and(~kOpen);
  const auto all_out = [this] { return (state_.load(std::memory_order_acquire) & kInside) == 0; };
  if (spin(all_out)) return;
  caller_asleep_.store(true);
  for (std::uint32_t state; ((state = state_.load()) & kInside) != 0;) state_.wait(state);
  caller_asleep_.store(false, std::memory_order_relaxed);
}

// False when the pool ends.
bool ThreadPool::wait_for_work(std::uint32_t seen) {
  const auto ready = [&] {
    const std::uint32_t state = state_.load(std::memory_order_acquire);
    return ((state & kOpen) != 0 && (state & kNumber) != seen) || stopping_.load(std::memory_order_relaxed);
  };
  if (!spin(ready)) {
    asleep_.fetch_add(1);
    for (std::uint32_t state = state_.load(); !ready(); state = state_.load()) state_.wait(state);
    asleep_.fetch_sub(1);
  }
  return !stopping_.load(std::memory_order_relaxed);
}

void ThreadPool::serve(int index) {
  place = {this, index};
  for (std::uint32_t seen = 0; wait_for_work(seen);) {
    std::uint32_t state = state_.load(std::memory_order_relaxed);
    while ((state & kOpen) != 0 && (state & kNumber) != seen) {
      if (!state_.compare_exchange_weak(state, state + 1, std::memory_order_acquire, std::memory_order_relaxed)) continue;
      seen = state & kNumber;
      take(index);
      const std::uint32_t left = state_.fetch_sub(1) - 1;
      if ((left & (kInside | kOpen)) == 0 && caller_asleep_.load()) state_.notify_all();
      break;
    }
  }
}

ThreadPool::CallerPin::CallerPin(const ThreadPool& pool) {
  if (pool.options_.cpus.empty() || pthread_getaffinity_np(pthread_self(), sizeof before_, &before_) != 0) return;
  stay_on(pthread_self(), pool.options_.cpus.front());
  pinned_ = true;
}

ThreadPool::CallerPin::~CallerPin() {
  if (pinned_) pthread_setaffinity_np(pthread_self(), sizeof before_, &before_);
}

}  // namespace crossover
