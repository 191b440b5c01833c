// Schedules: every chunk once, in the order and by as many threads as each schedule says.
#include "engine/load/schedule.h"

#include <gtest/gtest.h>

#include <atomic>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>

namespace crossover {
namespace {

constexpr int kThreadCounts[] = {1, 2, 3, 13, 47, 64};

std::vector<std::size_t> experts_of(std::size_t experts, std::size_t chunks) {
  std::vector<std::size_t> first;
  for (std::size_t e = 0; e <= experts; ++e) first.push_back(e * chunks);
  return first;
}

struct Seen {
  std::int64_t launches = 0;
  std::vector<int> times;
  std::vector<std::thread::id> by;       // of each chunk
  std::set<std::thread::id> others;      // threads that were not the caller
  bool overlapped = false;               // a worker's calls did
};

Seen run(Schedule schedule, std::size_t experts, std::size_t chunks, int threads) {
  Seen seen;
  seen.times.resize(experts * chunks);
  seen.by.resize(experts * chunks);
  std::vector<std::atomic<int>> inside(static_cast<std::size_t>(threads));
  std::mutex mutex;
  const auto caller = std::this_thread::get_id();
  seen.launches = run_spawning(schedule, experts_of(experts, chunks), threads, [&](std::size_t chunk, std::size_t worker) {
    const bool alone = ++inside.at(worker) == 1;
    {
      const std::lock_guard lock(mutex);
      if (!alone) seen.overlapped = true;
      ++seen.times.at(chunk);
      seen.by[chunk] = std::this_thread::get_id();
      if (seen.by[chunk] != caller) seen.others.insert(seen.by[chunk]);
    }
    --inside[worker];
  });
  return seen;
}

TEST(Schedule, EveryChunkOnceByAtMostTheThreadsAskedFor) {
  for (Schedule schedule : {Schedule::kExpertSpawn, Schedule::kExpertPerThread, Schedule::kChunkQueue})
    for (int threads : kThreadCounts)
      for (auto [experts, chunks] : {std::pair<std::size_t, std::size_t>{1, 1}, {1, 40}, {7, 3}, {16, 1}, {26, 2}, {47, 5}}) {
        const Seen seen = run(schedule, experts, chunks, threads);
        EXPECT_EQ(seen.times, std::vector<int>(experts * chunks, 1)) << name(schedule) << " " << threads;
        EXPECT_FALSE(seen.overlapped) << name(schedule) << " " << threads;
        EXPECT_EQ(seen.launches, launches(schedule, static_cast<std::int64_t>(experts), static_cast<std::int64_t>(chunks), threads))
            << name(schedule) << " of " << experts << " x " << chunks << " with " << threads;
      }
}

// The closed forms as numbers, so that they cannot drift together with the code that starts the threads.
TEST(Schedule, LaunchesOfPublishedShapes) {
  // 512 experts of 2048 x 512 and 64 threads: a set of threads for every expert.
  const std::int64_t chunks = 512 * 2048 / kSpawnChunkValues;
  EXPECT_EQ(launches(Schedule::kExpertSpawn, 512, chunks, 64), 512 * 63);
  EXPECT_EQ(launches(Schedule::kExpertPerThread, 512, chunks, 64), 64);
  EXPECT_EQ(launches(Schedule::kChunkQueue, 512, chunks, 64), 63);
  EXPECT_EQ(launches(Schedule::kPool, 512, chunks, 64), 0);
  // Fewer chunks than threads: no thread is started that would find nothing.
  EXPECT_EQ(launches(Schedule::kExpertSpawn, 256, 8, 13), 256 * 7);
  EXPECT_EQ(launches(Schedule::kChunkQueue, 2, 3, 64), 5);
  // 40 experts and 47 threads meet neither condition; 94 meet the second, 47 the first.
  EXPECT_EQ(launches(Schedule::kExpertPerThread, 40, 64, 47), 40 * 46);
  EXPECT_EQ(launches(Schedule::kExpertPerThread, 94, 64, 47), 47);
  EXPECT_EQ(launches(Schedule::kExpertPerThread, 47, 64, 47), 47);
  EXPECT_EQ(launches(Schedule::kExpertPerThread, 512, 64, 1), 0);
}

TEST(Schedule, WholeExpertsStayWithOneThread) {
  const Seen seen = run(Schedule::kExpertPerThread, 26, 9, 13);
  for (std::size_t chunk = 0; chunk < seen.by.size(); ++chunk) EXPECT_EQ(seen.by[chunk], seen.by[chunk / 9 * 9]);
  EXPECT_FALSE(seen.others.empty());
}

TEST(Schedule, OutsideItsConditionsExpertPerThreadSpawns) {
  EXPECT_EQ(schedule_for(Schedule::kExpertPerThread, 16, 8), Schedule::kExpertPerThread);
  EXPECT_EQ(schedule_for(Schedule::kExpertPerThread, 17, 8), Schedule::kExpertPerThread);
  EXPECT_EQ(schedule_for(Schedule::kExpertPerThread, 15, 8), Schedule::kExpertSpawn);
  EXPECT_EQ(schedule_for(Schedule::kExpertPerThread, 1, 2), Schedule::kExpertSpawn);
  EXPECT_EQ(schedule_for(Schedule::kChunkQueue, 1, 2), Schedule::kChunkQueue);
}

TEST(Schedule, AFailureReachesTheCallerAndEndsTheThreads) {
  for (Schedule schedule : {Schedule::kExpertSpawn, Schedule::kExpertPerThread, Schedule::kChunkQueue}) {
    std::atomic<int> after{0};
    EXPECT_THROW(run_spawning(schedule, experts_of(26, 50), 13, [&](std::size_t chunk, std::size_t) {
                   if (chunk == 3) throw std::runtime_error("planted");
                   ++after;
                 }),
                 std::runtime_error)
        << name(schedule);
    EXPECT_LT(after, 26 * 50 - 1) << name(schedule);
  }
}

TEST(Schedule, NoChunksNoThreads) {
  EXPECT_EQ(run_spawning(Schedule::kChunkQueue, experts_of(4, 0), 8, [](std::size_t, std::size_t) { FAIL(); }), 0);
  EXPECT_EQ(run_spawning(Schedule::kExpertSpawn, experts_of(4, 0), 8, [](std::size_t, std::size_t) { FAIL(); }), 0);
}

TEST(Schedule, StandingThreadsTakeChunksInOrder) {
  for (int threads : kThreadCounts) {
    ThreadPool pool(threads);
    std::mutex mutex;
    std::vector<std::size_t> order;
    run_standing(pool, 500, [&](std::size_t chunk, std::size_t worker) {
      EXPECT_LT(worker, static_cast<std::size_t>(threads));
      const std::lock_guard lock(mutex);
      order.push_back(chunk);
    });
    ASSERT_EQ(order.size(), 500u);
    for (std::size_t i = 0; i < order.size(); ++i) EXPECT_LE(order[i], i + static_cast<std::size_t>(threads));
    EXPECT_EQ(std::set(order.begin(), order.end()).size(), 500u);
  }
}

TEST(Schedule, ChunksAreWholeRows) {
  EXPECT_EQ(chunk_rows(Schedule::kExpertSpawn, 512), 32);
  EXPECT_EQ(chunk_rows(Schedule::kExpertSpawn, 5120), 4);
  EXPECT_EQ(chunk_rows(Schedule::kChunkQueue, 17408), 1);
  EXPECT_EQ(chunk_rows(Schedule::kPool, 1 << 20), 1);
  EXPECT_EQ(chunk_rows(Schedule::kPool, 512), 512);
}

}  // namespace
}  // namespace crossover
