#include "kernels/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <numeric>
#include <set>
#include <system_error>
#include <stdexcept>
#include <thread>
#include <vector>

namespace crossover {
namespace {

using Range = std::pair<std::int64_t, std::int64_t>;

std::set<Range> ranges_of(ThreadPool& pool, std::int64_t count, std::int64_t grain) {
  std::mutex mutex;
  std::set<Range> ranges;
  pool.parallel_for(count, grain, [&](std::int64_t begin, std::int64_t end) {
    const std::lock_guard lock(mutex);
    EXPECT_TRUE(ranges.emplace(begin, end).second) << "range " << begin << " given twice";
  });
  return ranges;
}

class ThreadPoolOf : public ::testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Threads, ThreadPoolOf, ::testing::Values(1, 2, 3, 8));

TEST_P(ThreadPoolOf, RangesCoverEveryItemOnceAndDependOnCountAndGrainAlone) {
  ThreadPool pool(GetParam()), alone(1);
  for (const std::int64_t count : {0, 1, 2, 7, 64, 1000})
    for (const std::int64_t grain : {1, 3, 64, 5000}) {
      const std::set<Range> ranges = ranges_of(pool, count, grain);
      std::int64_t next = 0;
      for (const auto& [begin, end] : ranges) {
        EXPECT_EQ(begin, next);
        EXPECT_LE(end - begin, grain);
        EXPECT_LT(begin, end);
        next = end;
      }
      EXPECT_EQ(next, count);
      EXPECT_EQ(ranges, ranges_of(alone, count, grain));
    }
}

TEST_P(ThreadPoolOf, NothingToDoCallsNobody) {
  ThreadPool pool(GetParam());
  EXPECT_TRUE(ranges_of(pool, -3, 4).empty());
  EXPECT_EQ(ranges_of(pool, 3, 0).size(), 3u);  // a grain below 1 means 1
  EXPECT_EQ(ranges_of(pool, 2, -7).size(), 2u);
}

TEST_P(ThreadPoolOf, WorkersHaveDistinctIndicesBelowThreads) {
  ThreadPool pool(GetParam());
  std::vector<int> inside(static_cast<std::size_t>(GetParam()));  // not atomic: two threads with one index would race
  std::vector<std::atomic<int>> entered(static_cast<std::size_t>(GetParam()));
  pool.parallel_for(2000, 1, [&](std::int64_t, std::int64_t) {
    const int worker = ThreadPool::worker();
    ASSERT_GE(worker, 0);
    ASSERT_LT(worker, GetParam());
    EXPECT_EQ(entered[static_cast<std::size_t>(worker)].fetch_add(1), 0) << "two threads share index " << worker;
    ++inside[static_cast<std::size_t>(worker)];
    entered[static_cast<std::size_t>(worker)].fetch_sub(1);
  });
  EXPECT_EQ(std::accumulate(inside.begin(), inside.end(), 0), 2000);
}

TEST_P(ThreadPoolOf, PlainWritesBeforeInsideAndAfterAreOrdered) {
  ThreadPool pool(GetParam());
  std::vector<int> values(5000, 1);
  for (int round = 0; round < 20; ++round) {
    pool.parallel_for(static_cast<std::int64_t>(values.size()), 50, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) ++values[static_cast<std::size_t>(i)];
    });
    for (int& value : values) ++value;
  }
  for (const int value : values) ASSERT_EQ(value, 41);
}

TEST_P(ThreadPoolOf, AnExceptionOfABodyReachesTheCallerAndThePoolGoesOn) {
  ThreadPool pool(GetParam());
  auto fail_at_17 = [&] {
    pool.parallel_for(100, 1, [](std::int64_t begin, std::int64_t) {
      if (begin == 17) throw std::runtime_error("item 17");
    });
  };
  try {
    fail_at_17();
    FAIL() << "no exception";
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "item 17");
  }
  EXPECT_EQ(ranges_of(pool, 100, 1).size(), 100u);
}

TEST(ThreadPool, MoreThreadsThanCoresReallyRunAtOnce) {
  const int threads = static_cast<int>(std::thread::hardware_concurrency()) + 3;
  ThreadPool pool(threads);
  std::atomic<int> arrived = 0, met_all = 0;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  pool.parallel_for(threads, 1, [&](std::int64_t, std::int64_t) {
    ++arrived;
    while (arrived < threads && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
    if (arrived == threads) ++met_all;
  });
  EXPECT_EQ(met_all, threads) << "not all of them were inside together";
}

TEST(ThreadPool, TwoPoolsWorkSideBySide) {
  std::vector<std::int64_t> sums(2);
  std::vector<std::thread> ranks;
  for (std::size_t rank = 0; rank < 2; ++rank)
    ranks.emplace_back([&sums, rank] {
      ThreadPool pool(2);
      for (int round = 0; round < 50; ++round) {
        std::atomic<std::int64_t> sum = 0;
        pool.parallel_for(1000, 10, [&](std::int64_t begin, std::int64_t end) {
          for (std::int64_t i = begin; i < end; ++i) sum += i;
        });
        sums[rank] += sum;
      }
    });
  for (std::thread& rank : ranks) rank.join();
  EXPECT_EQ(sums[0], 50 * 499500);
  EXPECT_EQ(sums[1], 50 * 499500);
}

TEST_P(ThreadPoolOf, InsideABodyTheSamePoolWorksOnTheCallingWorker) {
  ThreadPool pool(GetParam());
  std::atomic<int> items = 0;
  pool.parallel_for(20, 1, [&](std::int64_t, std::int64_t) {
    const int outer = ThreadPool::worker();
    pool.parallel_for(10, 3, [&](std::int64_t begin, std::int64_t end) {
      EXPECT_EQ(ThreadPool::worker(), outer);
      items += static_cast<int>(end - begin);
    });
  });
  EXPECT_EQ(items, 200);
}

TEST_P(ThreadPoolOf, InsideABodyAnotherPoolHasItsOwnIndices) {
  ThreadPool pool(GetParam()), alone(1), pair(2);
  std::mutex mutex;
  pool.parallel_for(20, 1, [&](std::int64_t, std::int64_t) {
    const int outer = ThreadPool::worker();
    alone.parallel_for(2, 1, [&](std::int64_t, std::int64_t) { EXPECT_EQ(ThreadPool::worker(), 0); });
    {
      const std::lock_guard lock(mutex);
      pair.parallel_for(20, 1, [&](std::int64_t, std::int64_t) { EXPECT_LT(ThreadPool::worker(), 2); });
    }
    EXPECT_EQ(ThreadPool::worker(), outer);
  });
}

TEST_P(ThreadPoolOf, WorkComesThroughWhetherWorkersSpinOrSleep) {
  for (const bool shared : {false, true}) {
    ThreadPool pool(GetParam(), {{}, shared});
    std::atomic<std::int64_t> sum = 0;
    for (int round = 0; round < 300; ++round) {
      pool.parallel_for(17, 1, [&](std::int64_t begin, std::int64_t) { sum += begin; });
      if (round % 30 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));  // longer than they spin
    }
    EXPECT_EQ(sum, 300 * 136);
  }
}

TEST_P(ThreadPoolOf, FailuresOfManyBodiesAtOnceGiveOneException) {
  ThreadPool pool(GetParam());
  for (int round = 0; round < 100; ++round)
    EXPECT_THROW(pool.parallel_for(50, 1, [](std::int64_t, std::int64_t) { throw std::out_of_range("all"); }), std::out_of_range);
  EXPECT_EQ(ranges_of(pool, 10, 1).size(), 10u);
}

TEST(ThreadPool, ASecondCallerIsRefused) {
  ThreadPool pool(2);
  std::atomic<bool> inside = false, refused = false;
  std::thread other([&] {
    while (!inside) std::this_thread::yield();
    EXPECT_THROW(pool.parallel_for(2, 1, [](std::int64_t, std::int64_t) {}), std::logic_error);
    refused = true;
  });
  pool.parallel_for(2, 1, [&](std::int64_t, std::int64_t) {
    inside = true;
    while (!refused) std::this_thread::yield();
  });
  other.join();
  EXPECT_EQ(ranges_of(pool, 5, 1).size(), 5u);
}

// Each worker waits for the others, so that all of them take part; the caller's own place is given back.
TEST(ThreadPool, WorkersStayOnTheirCpus) {
  const std::vector<int> cpus = allowed_cpus();
  const int threads = static_cast<int>(cpus.size());
  if (threads < 2) GTEST_SKIP() << "one cpu";
  ThreadPool pool(threads, {cpus, false});
  std::vector<std::vector<int>> found(cpus.size());
  {
    const ThreadPool::CallerPin pin(pool);
    std::atomic<int> arrived = 0;
    pool.parallel_for(threads, 1, [&](std::int64_t, std::int64_t) {
      found[static_cast<std::size_t>(ThreadPool::worker())] = allowed_cpus();
      ++arrived;
      while (arrived < threads) std::this_thread::yield();
    });
  }
  for (std::size_t i = 0; i < cpus.size(); ++i) EXPECT_EQ(found[i], std::vector<int>{cpus[i]});
  EXPECT_EQ(allowed_cpus(), cpus);
}

TEST(ThreadPool, CpusForOtherThanAllWorkersOrThatAreNotThereAreRefused) {
  EXPECT_THROW(ThreadPool(2, {{0}, false}), std::invalid_argument);
  EXPECT_THROW(ThreadPool(2, {{0, CPU_SETSIZE - 1}, false}), std::system_error);
}

TEST(ThreadPool, OutsideThePoolTheWorkerIsZero) { EXPECT_EQ(ThreadPool::worker(), 0); }

TEST(ThreadPool, FewerThanOneThreadIsRefused) {
  EXPECT_THROW(ThreadPool(0), std::invalid_argument);
  EXPECT_THROW(ThreadPool(-1), std::invalid_argument);
}

TEST(ThreadPool, CallsNothingInARehearsal) {
  for (const int threads : {1, 3}) {
    ThreadPool pool(threads);
    std::atomic<int> calls{0};
    const auto body = [&](std::int64_t begin, std::int64_t end) { calls += static_cast<int>(end - begin); };
    pool.rehearse(true);
    pool.parallel_for(10, 1, body);
    EXPECT_EQ(calls, 0);
    pool.rehearse(false);
    pool.parallel_for(10, 1, body);
    EXPECT_EQ(calls, 10);
  }
}

}  // namespace
}  // namespace crossover
