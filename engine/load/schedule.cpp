#include "engine/load/schedule.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <thread>

namespace crossover {
namespace {

constexpr std::array<const char*, 5> kNames{"serial", "expert-spawn", "expert-per-thread", "chunk-queue", "pool"};

// Threads that end before it does; what one of them throws is kept for the caller.
class Crew {
 public:
  ~Crew() { join(); }

  template <class Work>
  void start(Work work) {
    threads_.emplace_back([this, work] { attempt(work); });
  }
  template <class Work>
  void attempt(const Work& work) {
    try {
      work();
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (!failure_) failure_ = std::current_exception();
      stopped_ = true;
    }
  }
  bool stopped() const { return stopped_; }
  std::int64_t started() const { return static_cast<std::int64_t>(threads_.size()); }
  void finish() {
    join();
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  void join() {
    for (std::thread& thread : threads_)
      if (thread.joinable()) thread.join();
  }

  std::mutex mutex_;
  std::exception_ptr failure_;
  std::atomic<bool> stopped_{false};
  std::vector<std::thread> threads_;
};

// `workers` workers, one of them the caller, take the chunks [begin, end).
std::int64_t share_chunks(std::size_t begin, std::size_t end, int threads, const std::function<void(std::size_t, std::size_t)>& body) {
  const auto workers = static_cast<int>(std::min<std::size_t>(static_cast<std::size_t>(threads), end - begin));
  if (workers == 0) return 0;
  std::atomic<std::size_t> next{begin};
  Crew crew;
  auto work = [&](std::size_t worker) {
    for (std::size_t chunk; !crew.stopped() && (chunk = next.fetch_add(1, std::memory_order_relaxed)) < end;) body(chunk, worker);
  };
  for (int w = 1; w < workers; ++w) crew.start([&work, w] { work(static_cast<std::size_t>(w)); });
  crew.attempt([&] { work(0); });
  crew.finish();
  return crew.started();
}

std::int64_t deal_experts(ExpertChunks chunks, int threads, const std::function<void(std::size_t, std::size_t)>& body) {
  const std::size_t experts = chunks.size() - 1;
  std::atomic<std::size_t> next{0};
  Crew crew;
  for (int w = 0; w < threads; ++w) {
    crew.start([&, w] {
      for (std::size_t expert; !crew.stopped() && (expert = next.fetch_add(1, std::memory_order_relaxed)) < experts;)
        for (std::size_t chunk = chunks[expert]; chunk < chunks[expert + 1]; ++chunk) body(chunk, static_cast<std::size_t>(w));
    });
  }
  crew.finish();
  return crew.started();
}

}  // namespace

Schedule parse_schedule(std::string_view wanted) {
  const auto at = std::find(kNames.begin(), kNames.end(), wanted);
  if (at == kNames.end()) throw std::invalid_argument(fmt::format("'{}' is no schedule; use one of {}", wanted, fmt::join(kNames, ", ")));
  return static_cast<Schedule>(at - kNames.begin());
}

const char* name(Schedule schedule) { return kNames[static_cast<std::size_t>(schedule)]; }

std::int64_t chunk_rows(Schedule schedule, std::int64_t columns) {
  columns = std::max<std::int64_t>(1, columns);
  if (schedule == Schedule::kSerial || schedule == Schedule::kPool) return std::max<std::int64_t>(1, kPoolChunkValues / columns);
  return (kSpawnChunkValues + columns - 1) / columns;
}

bool takes_whole_experts(std::int64_t experts, int threads) { return threads > 1 && (experts % threads == 0 || experts >= 2 * threads); }

Schedule schedule_for(Schedule wanted, std::int64_t experts, int threads) {
  return wanted == Schedule::kExpertPerThread && !takes_whole_experts(experts, threads) ? Schedule::kExpertSpawn : wanted;
}

std::int64_t launches(Schedule schedule, std::int64_t experts, std::int64_t chunks_per_expert, int threads) {
  switch (schedule_for(schedule, experts, threads)) {
    case Schedule::kExpertSpawn: return experts * (std::clamp<std::int64_t>(chunks_per_expert, 1, threads) - 1);
    case Schedule::kExpertPerThread: return threads;
    case Schedule::kChunkQueue: return std::clamp<std::int64_t>(experts * chunks_per_expert, 1, threads) - 1;
    default: return 0;
  }
}

std::int64_t run_spawning(Schedule schedule, ExpertChunks chunks, int threads, const std::function<void(std::size_t, std::size_t)>& body) {
  const auto experts = static_cast<std::int64_t>(chunks.size()) - 1;
  switch (schedule_for(schedule, experts, threads)) {
    case Schedule::kExpertPerThread: return deal_experts(chunks, threads, body);
    case Schedule::kChunkQueue: return share_chunks(chunks.front(), chunks.back(), threads, body);
    case Schedule::kExpertSpawn: {
      std::int64_t started = 0;
      for (std::size_t expert = 0; expert + 1 < chunks.size(); ++expert) started += share_chunks(chunks[expert], chunks[expert + 1], threads, body);
      return started;
    }
    default: throw std::invalid_argument(fmt::format("the schedule {} starts no threads", name(schedule)));
  }
}

void run_standing(ThreadPool& pool, std::size_t count, const std::function<void(std::size_t, std::size_t)>& body) {
  // The pool decides which worker goes on; the counter keeps the chunks in file order whoever that is.
  std::atomic<std::size_t> next{0};
  pool.parallel_for(static_cast<std::int64_t>(count), 1, [&](std::int64_t, std::int64_t) {
    body(next.fetch_add(1, std::memory_order_relaxed), static_cast<std::size_t>(ThreadPool::worker()));
  });
}

}  // namespace crossover
