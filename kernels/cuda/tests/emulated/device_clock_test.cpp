// Ranges as long as the device took, on the emulated device, whose clock counts what was asked of it (kernels/cuda/emulator/device_clock.cpp).
#include "kernels/cuda/device_clock.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>
#include <vector>

#include "kernels/buffer.h"

namespace crossover::cuda {
namespace {

constexpr double kOperation_s = 0x1p-24, kTolerance_s = 2e-8;  // what a double can hold of the seconds since a machine started a year ago

struct DeviceClockTest : testing::Test {
  Device device{0};
  std::unique_ptr<DeviceClock> clock = make_clock(device);
  Buffer memory{64, {allocate, release}};
  Trace trace;

  void ask(int operations) {
    for (int i = 0; i < operations; ++i) device.clear(memory.data(), memory.size());
  }
  double length_s(std::size_t span) const { return trace.spans()[span].end_s - trace.spans()[span].start_s; }
};

TEST_F(DeviceClockTest, RangesLastAsLongAsTheDeviceWorks) {
  trace.set_clock(clock.get());
  const double begin_s = monotonic_s();
  {
    Range outer(&trace, "outer");
    ask(2);
    { Range inner(&trace, "inner"); ask(3); }
    { Range empty(&trace, "empty"); std::this_thread::sleep_for(std::chrono::milliseconds(2)); }
    ask(1);
  }
  trace.resolve();
  const double end_s = monotonic_s();
  EXPECT_NEAR(length_s(0), 6 * kOperation_s, kTolerance_s);
  EXPECT_NEAR(length_s(1), 3 * kOperation_s, kTolerance_s);
  EXPECT_EQ(length_s(2), 0);  // however long the host was in it
  for (const Span& span : trace.spans()) {
    EXPECT_GE(span.start_s, begin_s);
    EXPECT_LE(span.end_s, end_s);
    if (span.parent < 0) continue;
    EXPECT_GE(span.start_s, trace.spans()[static_cast<std::size_t>(span.parent)].start_s);
    EXPECT_LE(span.end_s, trace.spans()[static_cast<std::size_t>(span.parent)].end_s);
  }
}

TEST_F(DeviceClockTest, SharesOfTheDeviceSumToTheWall) {
  trace.set_clock(clock.get());
  const double begin_s = monotonic_s();
  for (int i = 0; i < 3; ++i) {
    { Range range(&trace, "norm"); ask(1); }
    { Range range(&trace, "mlp"); ask(4); }
    trace.resolve();
  }
  const double end_s = monotonic_s();
  double sum_s = 0, mlp_s = 0;
  for (const PhaseShare& share : wall_shares({&trace}, begin_s, end_s)) sum_s += share.share_s, mlp_s += share.name == "mlp" ? share.share_s : 0;
  EXPECT_NEAR(sum_s, end_s - begin_s, kTolerance_s);
  EXPECT_NEAR(mlp_s, 12 * kOperation_s, 4 * kTolerance_s);
}

TEST_F(DeviceClockTest, AMarkIsAnEventOnlyWhereSomethingWasAskedSince) {
  EXPECT_EQ(clock->mark(), 0u);
  EXPECT_EQ(clock->mark(), 0u);
  ask(1);
  EXPECT_EQ(clock->mark(), 1u);
  EXPECT_EQ(clock->mark(), 1u);
  const std::span<const double> times_s = clock->resolve();
  ASSERT_EQ(times_s.size(), 2u);
  EXPECT_NEAR(times_s[1] - times_s[0], 1 * kOperation_s, kTolerance_s);
  EXPECT_EQ(clock->mark(), 0u);  // counts afresh
}

TEST_F(DeviceClockTest, TheHostsClockComesBack) {
  trace.set_clock(clock.get());
  { Range range(&trace, "device"); ask(1); }
  trace.set_clock(nullptr);  // resolves what is open
  EXPECT_NEAR(length_s(0), 1 * kOperation_s, kTolerance_s);
  { Range range(&trace, "host"); std::this_thread::sleep_for(std::chrono::milliseconds(2)); }
  trace.resolve();
  EXPECT_GE(length_s(1), 2e-3);
  EXPECT_LE(trace.spans()[0].end_s, trace.spans()[1].start_s);
}

TEST_F(DeviceClockTest, TheSameClockAgainDoesNotWaitForTheDevice) {
  struct Counting : DeviceClock {
    explicit Counting(DeviceClock& of) : clock(of) {}
    std::size_t mark() noexcept override { return clock.mark(); }
    std::span<const double> resolve() override { return ++waits, clock.resolve(); }
    DeviceClock& clock;
    int waits = 0;
  } counting(*clock);
  trace.set_clock(&counting);
  for (int pass = 0; pass < 3; ++pass) {
    trace.set_clock(&counting);
    Range range(&trace, "chunk");
    ask(pass + 1);
  }
  EXPECT_EQ(counting.waits, 0);
  trace.resolve();
  EXPECT_EQ(counting.waits, 1);
  for (std::size_t pass = 0; pass < 3; ++pass) EXPECT_NEAR(length_s(pass), static_cast<double>(pass + 1) * kOperation_s, kTolerance_s);
}

TEST_F(DeviceClockTest, ClearForgetsWhatIsNotResolved) {
  trace.set_clock(clock.get());
  { Range range(&trace, "before"); ask(5); }
  trace.clear();
  { Range range(&trace, "after"); ask(2); }
  trace.resolve();
  ASSERT_EQ(trace.spans().size(), 1u);
  EXPECT_NEAR(length_s(0), 2 * kOperation_s, kTolerance_s);
}

// A clock that is wrong by an hour, as a device's could be by some microseconds.
class WrongClock : public DeviceClock {
 public:
  explicit WrongClock(double off_s) : off_s_(off_s) {}
  std::size_t mark() noexcept override { return marks_++; }
  std::span<const double> resolve() override {
    times_s_.assign(marks_, monotonic_s() + off_s_);
    marks_ = 0;
    return times_s_;
  }

 private:
  double off_s_;
  std::size_t marks_ = 0;
  std::vector<double> times_s_;
};

TEST(DeviceTimes, LieBetweenAskingAndWaiting) {
  for (const double off_s : {-3600.0, 3600.0}) {
    WrongClock wrong(off_s);
    Trace trace;
    trace.set_clock(&wrong);
    const double begin_s = monotonic_s();
    { Range range(&trace, "work"); }
    trace.resolve();
    EXPECT_GE(trace.spans()[0].start_s, begin_s);
    EXPECT_GE(trace.spans()[0].end_s, trace.spans()[0].start_s);
    EXPECT_LE(trace.spans()[0].end_s, monotonic_s());
  }
}

// One that could set no mark, as on a device that has failed.
TEST(DeviceTimes, AreTheHostsWhereNoMarkCouldBeSet) {
  struct DeadClock : DeviceClock {
    std::size_t mark() noexcept override { return 0; }
    std::span<const double> resolve() override { return {}; }
  } dead;
  Trace trace;
  trace.set_clock(&dead);
  { Range range(&trace, "work"); std::this_thread::sleep_for(std::chrono::milliseconds(2)); }
  trace.resolve();
  EXPECT_GE(trace.spans()[0].end_s - trace.spans()[0].start_s, 2e-3);
}

}  // namespace
}  // namespace crossover::cuda
