// Named time ranges, always recorded in process (one Trace per thread that records). Names are string literals: "gdn.scan".
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace crossover {

double monotonic_s();  // seconds of CLOCK_MONOTONIC: comparable between the processes of one machine

struct Span {
  const char* name;
  double start_s, end_s;
  std::int32_t parent;  // index into the same Trace, -1 at the top
};

// Test hook: the first range of this name that a thread opens takes this much longer.
struct PhaseDelay {
  std::string phase;
  double seconds = 0;
};

// A device works behind the host: a mark in its work is reached once all that was asked before it is done, and when that was is known later.
class DeviceClock {
 public:
  virtual ~DeviceClock() = default;
  // Its index; that of the last one again where nothing was asked of the device since. Ranges end by it when something else has failed: a
  // failure of its own shows in resolve().
  virtual std::size_t mark() noexcept = 0;
  // Waits for the device. When every mark since the last call was reached, in seconds of the monotonic clock, never falling. Marks then
  // count from 0 again; valid until the next call.
  virtual std::span<const double> resolve() = 0;
};

// Told of every range on the thread that opens and closes it.
class RangeListener {
 public:
  virtual ~RangeListener() = default;
  virtual void opened(const char* name) = 0;
  virtual void closed() = 0;
};

// Not shared between threads: every thread that records has its own. Profilers from outside see the same ranges (kernels/nvtx.h).
class Trace {
 public:
  void delay_once(const PhaseDelay& delay) { delay_ = delay; }
  std::size_t open(const char* name);
  void close(std::size_t index);
  void clear();
  void reserve(std::size_t spans);
  const std::vector<Span>& spans() const { return spans_; }

  // Between two ranges. With a device's clock, ranges last from when the device came to them until it had done what was asked inside; what
  // it waited for between two ranges belongs to the second. Null: the host's clock again. The clock outlives its use.
  void set_clock(DeviceClock* clock);
  // Between two ranges: waits for the device and gives the ranges since the last call their times; does nothing under the host's clock.
  void resolve();
  void set_listener(RangeListener* listener) { listener_ = listener; }
  void record(bool records) { records_ = records; }  // false: ranges are shown to listener and profilers only

 private:
  struct Marks {
    std::size_t open, close;
  };
  static constexpr std::size_t kNotRecorded = static_cast<std::size_t>(-1);

  std::vector<Span> spans_;
  std::int32_t top_ = -1;
  bool records_ = true;
  PhaseDelay delay_;
  DeviceClock* clock_ = nullptr;
  RangeListener* listener_ = nullptr;
  std::vector<Marks> marks_;  // of the last marks_.size() spans
};

// `Range range(trace, "gdn.scan");` A null trace records nothing.
class Range {
 public:
  Range(Trace* trace, const char* name) : trace_(trace), index_(trace ? trace->open(name) : 0) {}
  ~Range() { if (trace_) trace_->close(index_); }
  Range(const Range&) = delete;
  Range& operator=(const Range&) = delete;

 private:
  Trace* trace_;
  std::size_t index_;
};

struct TimelineSpan {
  const char* name;
  double start_s, end_s;
};

// What a thread was in, one after another: its innermost ranges, neighbours of one name less than gap_s apart joined.
std::vector<TimelineSpan> timeline(const Trace& trace, double gap_s);

struct PhaseShare {
  std::string name;
  double share_s;  // of the wall time between begin_s and end_s; all shares and "other" sum to it
  double busy_s;   // thread-seconds
};

// Divides the wall time [begin_s, end_s] among phases: each instant goes in equal parts to the innermost spans of the threads
// that are in one; a thread inside "wait" counts only while no other thread works; instants without a span are "other".
// O(n log n) in the number of spans.
std::vector<PhaseShare> wall_shares(const std::vector<const Trace*>& threads, double begin_s, double end_s);

}  // namespace crossover
