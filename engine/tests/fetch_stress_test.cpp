// A fetcher under plans, buffers, readers and workers at random, and under files that shrink: nobody waits for ever.
#include <chrono>
#include <cstdio>
#include <future>

#include "engine/tests/fetch_cases.h"

namespace crossover::test {
namespace {

using Clock = std::chrono::steady_clock;

// Ends the program when it lives too long: a thread that waits for ever cannot be ended otherwise.
class Watchdog {
 public:
  Watchdog()
      : thread_([finished = done_.get_future()] {
          for (int tick = 0; tick < 1200; ++tick)  // of running: time in which the whole program is stopped is one tick
            if (finished.wait_for(std::chrono::milliseconds(100)) == std::future_status::ready) return;
          std::fputs("a fetcher locked up\n", stderr);
          std::abort();
        }) {}
  ~Watchdog() {
    done_.set_value();
    thread_.join();
  }

 private:
  std::promise<void> done_;
  std::thread thread_;
};

class FetchStress : public Fetch {
 protected:
  FetchOptions random_options() { return options(std::int64_t{1} << random_() % 24, 1 + static_cast<int>(random_() % 8)); }
  std::vector<FetchItem> items_of(const RandomFiles& files) {
    return random_items(files, random_() % 100, 1 + random_() % (200 * kKiB), random_);
  }
  bool goes_on() { return ++rounds_ <= 5 || Clock::now() < end_; }

  const Watchdog watchdog_;
  std::mt19937_64 random_{11};
  const Clock::time_point end_ = Clock::now() + std::chrono::milliseconds(500);
  int rounds_ = 0;
};

// Rings that come to lie where others lay, in threads that nothing orders: what the thread sanitizer has to be told about.
TEST_P(FetchStress, FetchersComeAndGoInThreadsOfTheirOwn) {
  const RandomFiles random_files({kMiB});
  const SourceFiles files(random_files.source, mode());
  const std::vector<FetchItem> items = random_files.in_pieces(100000);
  FETCHER_OR_SKIP(probe, files, items, options(kMiB));
  std::array<std::string, 3> failures;
  std::vector<std::thread> threads;
  for (std::string& failure : failures)
    threads.emplace_back([&] {
      for (int round = 0; round < 10 && failure.empty(); ++round) {
        Fetcher fetcher(files, items, options(kMiB));
        failure = consume(fetcher, &random_files, items, 1);
      }
    });
  for (std::thread& thread : threads) thread.join();
  for (const std::string& failure : failures) EXPECT_EQ(failure, "");
}

INSTANTIATE_TEST_SUITE_P(All, FetchStress, from_mode(0), title);

TEST_P(FetchStress, BringsTheBytesOfAnyPlan) {
  const RandomFiles random_files({kMiB + 3, 300 * kKiB, 5000}, 5);
  const SourceFiles files(random_files.source, mode());
  while (goes_on()) {
    const std::vector<FetchItem> items = items_of(random_files);
    const FetchOptions chosen = random_options();
    FETCHER_OR_SKIP(fetcher, files, items, chosen);
    ASSERT_EQ(consume(*fetcher, &random_files, items, 1 + random_() % 12), "");
    ASSERT_LE(fetcher->peak_buffer_bytes(), std::max(chosen.buffer_bytes, largest_need(items)));
  }
}

TEST_P(FetchStress, EndsWhenFilesShrinkAtAnyMoment) {
  const RandomFiles random_files({kMiB + 3, 300 * kKiB}, 6);
  int failures = 0;
  while (goes_on() || (failures == 0 && rounds_ < 300)) {  // a busy machine has few rounds in its time
    random_files.write();
    const SourceFiles files(random_files.source, mode());
    const std::vector<FetchItem> items = items_of(random_files);
    FETCHER_OR_SKIP(fetcher, files, items, random_options());
    const std::size_t victim = random_() % 2;
    const std::uint64_t left = random_() % random_files.source.file_bytes[victim];
    std::thread shrinks([&, pause = std::chrono::microseconds(random_() % 1000)] {
      std::this_thread::sleep_for(pause);
      fs::resize_file(random_files.source.files[victim], left);
    });
    if (rounds_ % 3 == 0) shrinks.join();  // at any moment, and now and then surely in time
    const std::string failure = consume(*fetcher, nullptr, items, 1 + random_() % 6);
    if (shrinks.joinable()) shrinks.join();
    if (failure.empty()) continue;
    ++failures;
    ASSERT_NE(failure.find("cannot read tensor blk.7.ffn_up.weight"), std::string::npos) << failure;
    ASSERT_NE(failure.find("file" + std::to_string(victim + 1)), std::string::npos) << failure;
  }
  EXPECT_GT(failures, 0);
}

}  // namespace
}  // namespace crossover::test
