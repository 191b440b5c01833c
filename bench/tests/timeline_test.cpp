#include "bench/timeline.h"

#include <gtest/gtest.h>

namespace crossover {
namespace {

TEST(Timeline, KeepsTheLongestPhaseOfEachStep) {
  // 4 s in 400 steps of 10 ms: 1 s of reading, then quantizing in 6 of every 10 ms, then nothing, then a wait to the end.
  std::vector<LoadSpan> spans{{0, 0, "read", 0, 1}};
  for (int step = 100; step < 200; ++step) {
    spans.push_back({0, 0, "gather", step * 0.01, step * 0.01 + 0.004});
    spans.push_back({0, 0, "quantize", step * 0.01 + 0.004, (step + 1) * 0.01});
  }
  spans.push_back({0, 0, "wait", 3, 4});
  spans.push_back({1, -1, "read", 0.5, 4.5});  // a reader that ends after the load
  const std::vector<SampleSpan> coarse = coarse_timeline(spans, 4);
  ASSERT_EQ(coarse.size(), 4U);
  const auto expect = [&](std::size_t i, const char* phase, double start_s, double end_s) {
    EXPECT_EQ(coarse[i].phase, phase);
    EXPECT_NEAR(coarse[i].start_s, start_s, 1e-9) << phase;
    EXPECT_NEAR(coarse[i].end_s, end_s, 1e-9) << phase;
  };
  expect(0, "read", 0, 1);
  expect(1, "quantize", 1, 2);
  expect(2, "wait", 3, 4);
  expect(3, "read", 0.5, 4);
  EXPECT_EQ(coarse[3].rank, 1);
  EXPECT_EQ(coarse[3].thread, -1);
}

TEST(Timeline, IsBoundedHoweverManySpansThereAre) {
  std::vector<LoadSpan> spans;
  for (int i = 0; i < 100'000; ++i) spans.push_back({0, 0, i % 2 ? "a" : "b", i * 1e-5, (i + 1) * 1e-5});
  EXPECT_LE(coarse_timeline(spans, 1).size(), static_cast<std::size_t>(kTimelineSteps));
  EXPECT_TRUE(coarse_timeline({}, 1).empty());
  EXPECT_TRUE(coarse_timeline(spans, 0).empty());
}

}  // namespace
}  // namespace crossover
