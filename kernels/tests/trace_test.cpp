#include "kernels/trace.h"

#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <random>
#include <thread>

namespace crossover {
namespace {

std::map<std::string, PhaseShare> by_name(const std::vector<PhaseShare>& shares) {
  std::map<std::string, PhaseShare> result;
  for (const PhaseShare& share : shares) EXPECT_TRUE(result.emplace(share.name, share).second) << share.name << " twice";
  return result;
}

double total_s(const std::vector<PhaseShare>& shares) {
  double sum = 0;
  for (const PhaseShare& share : shares) sum += share.share_s;
  return sum;
}

TEST(Trace, RangesNestAndRecordTheirParent) {
  Trace trace;
  {
    Range outer(&trace, "outer");
    { Range inner(&trace, "inner"); }
    { Range inner(&trace, "second"); }
  }
  { Range next(&trace, "next"); }
  ASSERT_EQ(trace.spans().size(), 4u);
  EXPECT_EQ(trace.spans()[0].parent, -1);
  EXPECT_EQ(trace.spans()[1].parent, 0);
  EXPECT_EQ(trace.spans()[2].parent, 0);
  EXPECT_EQ(trace.spans()[3].parent, -1);
  EXPECT_STREQ(trace.spans()[2].name, "second");
  EXPECT_LE(trace.spans()[0].start_s, trace.spans()[1].start_s);
  EXPECT_LE(trace.spans()[1].end_s, trace.spans()[2].start_s);
  EXPECT_LE(trace.spans()[2].end_s, trace.spans()[0].end_s);
}

TEST(Trace, NullTraceRecordsNothing) {
  Range range(nullptr, "nothing");
  SUCCEED();
}

TEST(Trace, ClearStartsAfresh) {
  Trace trace;
  { Range range(&trace, "before"); }
  trace.clear();
  { Range range(&trace, "after"); }
  ASSERT_EQ(trace.spans().size(), 1u);
  EXPECT_EQ(trace.spans()[0].parent, -1);
}

TEST(Trace, RangesThatAreNotRecordedAreStillTold) {
  struct Listener : RangeListener {
    std::vector<std::string> told;
    void opened(const char* name) override { told.emplace_back(name); }
    void closed() override { told.emplace_back("/"); }
  } listener;
  Trace trace;
  trace.set_listener(&listener);
  {
    Range outer(&trace, "pass");
    trace.record(false);
    { Range inner(&trace, "norm"); }
    trace.record(true);
  }
  { Range next(&trace, "next"); }
  ASSERT_EQ(trace.spans().size(), 2u);
  EXPECT_STREQ(trace.spans()[0].name, "pass");
  EXPECT_GE(trace.spans()[1].start_s, trace.spans()[0].end_s);
  EXPECT_EQ(trace.spans()[1].parent, -1);
  EXPECT_EQ(listener.told, (std::vector<std::string>{"pass", "norm", "/", "/", "next", "/"}));
}

TEST(Trace, TimelineJoinsNeighboursAndShowsTheInnermost) {
  Trace trace;
  {
    Range outer(&trace, "outer");
    { Range inner(&trace, "inner"); }
    { Range inner(&trace, "inner"); }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  std::vector<TimelineSpan> fine = timeline(trace, 0), coarse = timeline(trace, 10);
  ASSERT_FALSE(fine.empty());
  double inside_s = 0;
  for (std::size_t i = 0; i < fine.size(); ++i) {
    EXPECT_LT(fine[i].start_s, fine[i].end_s);
    if (i > 0) {
      EXPECT_LE(fine[i - 1].end_s, fine[i].start_s);
    }
    inside_s += fine[i].end_s - fine[i].start_s;
  }
  EXPECT_NEAR(inside_s, trace.spans()[0].end_s - trace.spans()[0].start_s, 1e-9);
  EXPECT_STREQ(coarse.back().name, "outer");
  EXPECT_GE(coarse.back().end_s - coarse.back().start_s, 0.02);
}

TEST(Trace, ADelayFallsIntoTheFirstRangeOfItsNameOnly) {
  Trace trace;
  trace.delay_once({"slow", 0.05});
  { Range range(&trace, "fast"); }
  { Range range(&trace, "slow"); }
  { Range range(&trace, "slow"); }
  const std::vector<Span>& spans = trace.spans();
  EXPECT_LT(spans[0].end_s - spans[0].start_s, 0.05);
  EXPECT_GE(spans[1].end_s - spans[1].start_s, 0.05);
  EXPECT_LT(spans[2].end_s - spans[2].start_s, 0.05);
}

// Builds the spans of one thread from real ranges, so that the tests below use the recorder and not a layout of their own: the
// clock is read, hence times are measured and not chosen.
struct Busy {
  static void for_s(double length_s) {
    const double end_s = monotonic_s() + length_s;
    while (monotonic_s() < end_s) {}
  }
};

TEST(WallShares, NothingRecordedIsOther) {
  Trace trace;
  const auto shares = by_name(wall_shares({&trace}, 10, 12.5));
  ASSERT_EQ(shares.size(), 1u);
  EXPECT_EQ(shares.at("other").share_s, 2.5);
  EXPECT_EQ(shares.at("other").busy_s, 0);
}

TEST(WallShares, InnermostSpanTakesTheTime) {
  Trace trace;
  const double begin_s = monotonic_s();
  {
    Range outer(&trace, "outer");
    Busy::for_s(1e-3);
    {
      Range inner(&trace, "inner");
      Busy::for_s(2e-3);
    }
    Busy::for_s(1e-3);
  }
  const double end_s = monotonic_s();
  const Span outer = trace.spans()[0], inner = trace.spans()[1];
  const std::vector<PhaseShare> shares = wall_shares({&trace}, begin_s, end_s);
  auto named = by_name(shares);
  EXPECT_NEAR(named.at("inner").share_s, inner.end_s - inner.start_s, 1e-9);
  EXPECT_NEAR(named.at("outer").share_s, (outer.end_s - outer.start_s) - (inner.end_s - inner.start_s), 1e-9);
  EXPECT_NEAR(named.at("other").share_s, (end_s - begin_s) - (outer.end_s - outer.start_s), 1e-9);
  EXPECT_NEAR(total_s(shares), end_s - begin_s, 1e-9);
}

TEST(WallShares, SameNameNestedInItselfCountsOnce) {
  Trace trace;
  {
    Range outer(&trace, "scan");
    Range inner(&trace, "scan");
    Busy::for_s(1e-3);
  }
  const Span outer = trace.spans()[0];
  const auto shares = by_name(wall_shares({&trace}, outer.start_s, outer.end_s));
  ASSERT_EQ(shares.count("scan"), 1u);
  EXPECT_NEAR(shares.at("scan").share_s, outer.end_s - outer.start_s, 1e-9);
  EXPECT_NEAR(shares.at("scan").busy_s, outer.end_s - outer.start_s, 1e-9);
}

TEST(WallShares, SpansAreCutAtTheEndsOfTheWindow) {
  Trace trace;
  {
    Range range(&trace, "work");
    Busy::for_s(2e-3);
  }
  const Span span = trace.spans()[0];
  const double middle_s = (span.start_s + span.end_s) / 2;
  const auto first = by_name(wall_shares({&trace}, span.start_s - 1, middle_s));
  EXPECT_NEAR(first.at("work").share_s, middle_s - span.start_s, 1e-9);
  EXPECT_NEAR(first.at("other").share_s, 1, 1e-9);
  const auto second = by_name(wall_shares({&trace}, middle_s, span.end_s));
  EXPECT_NEAR(second.at("work").share_s, span.end_s - middle_s, 1e-9);
  EXPECT_EQ(second.count("other"), 0u);
  const auto outside = by_name(wall_shares({&trace}, span.end_s + 1, span.end_s + 2));
  EXPECT_EQ(outside.count("work"), 0u);
  EXPECT_NEAR(outside.at("other").share_s, 1, 1e-9);
}

// Two threads, the second starts after the first and ends before it: [read alone][both][read alone].
struct TwoThreads {
  Trace first, second;
  TwoThreads(const char* outer, const char* inner) {
    Range a(&first, outer);
    Busy::for_s(1e-3);
    {
      Range b(&second, inner);
      Busy::for_s(2e-3);
    }
    Busy::for_s(1e-3);
  }
  double outer_s() const { return first.spans()[0].end_s - first.spans()[0].start_s; }
  double inner_s() const { return second.spans()[0].end_s - second.spans()[0].start_s; }
  std::vector<PhaseShare> shares() const {
    return wall_shares({&first, &second}, first.spans()[0].start_s, first.spans()[0].end_s);
  }
};

TEST(WallShares, OverlappingThreadsShareTheInstantEqually) {
  const TwoThreads threads("read", "quantize");
  const std::vector<PhaseShare> shares = threads.shares();
  auto named = by_name(shares);
  EXPECT_NEAR(named.at("quantize").share_s, threads.inner_s() / 2, 1e-9);
  EXPECT_NEAR(named.at("read").share_s, threads.outer_s() - threads.inner_s() / 2, 1e-9);
  EXPECT_NEAR(named.at("read").busy_s, threads.outer_s(), 1e-9);
  EXPECT_NEAR(named.at("quantize").busy_s, threads.inner_s(), 1e-9);
  EXPECT_NEAR(total_s(shares), threads.outer_s(), 1e-9);
}

TEST(WallShares, WaitTakesNoTimeWhileAnotherThreadWorks) {
  const TwoThreads threads("quantize", "wait");
  auto named = by_name(threads.shares());
  EXPECT_NEAR(named.at("quantize").share_s, threads.outer_s(), 1e-9);
  EXPECT_EQ(named.at("wait").share_s, 0);
  EXPECT_NEAR(named.at("wait").busy_s, threads.inner_s(), 1e-9);
}

TEST(WallShares, WaitTakesTheTimeInWhichNobodyWorks) {
  const TwoThreads threads("wait", "quantize");
  auto named = by_name(threads.shares());
  EXPECT_NEAR(named.at("quantize").share_s, threads.inner_s(), 1e-9);
  EXPECT_NEAR(named.at("wait").share_s, threads.outer_s() - threads.inner_s(), 1e-9);
}

TEST(WallShares, TwoThreadsThatOnlyWaitAreOneWait) {
  const TwoThreads threads("wait", "wait");
  const auto named = by_name(threads.shares());
  ASSERT_EQ(named.size(), 1u);
  EXPECT_NEAR(named.at("wait").share_s, threads.outer_s(), 1e-9);
  EXPECT_NEAR(named.at("wait").busy_s, threads.outer_s() + threads.inner_s(), 1e-9);
}

void record(Trace& trace, int depth, std::mt19937_64& random) {
  static constexpr const char* kNames[] = {"a", "b", "wait", "c"};
  for (int i = 0; i < 3; ++i) {
    Range range(&trace, kNames[random() % 4]);
    if (depth > 0) record(trace, depth - 1, random);
    Busy::for_s(static_cast<double>(random() % 20) * 1e-6);
  }
}

TEST(WallShares, SumIsTheWallForAnyNestingAndAnyThreads) {
  for (int seed = 0; seed < 5; ++seed) {
    std::vector<Trace> traces(3);
    const double begin_s = monotonic_s();
    std::vector<std::thread> threads;
    for (std::size_t t = 0; t < traces.size(); ++t)
      threads.emplace_back([&traces, t, seed] {
        std::mt19937_64 random(static_cast<std::uint64_t>(seed) * 10 + t);
        record(traces[t], 3, random);
      });
    for (std::thread& thread : threads) thread.join();
    const double end_s = monotonic_s();
    const std::vector<PhaseShare> shares = wall_shares({&traces[0], &traces[1], &traces[2]}, begin_s, end_s);
    EXPECT_NEAR(total_s(shares), end_s - begin_s, 1e-9);
    double busy_s = 0;
    for (const PhaseShare& share : shares) {
      EXPECT_GE(share.share_s, 0) << share.name;
      EXPECT_LE(share.share_s, share.name == "other" ? end_s - begin_s : share.busy_s + 1e-12) << share.name;
      busy_s += share.busy_s;
    }
    double recorded_s = 0;
    for (const Trace& trace : traces)
      for (const Span& span : trace.spans()) recorded_s += span.parent < 0 ? span.end_s - span.start_s : 0;
    EXPECT_NEAR(busy_s, recorded_s, 1e-9);
  }
}

}  // namespace
}  // namespace crossover
