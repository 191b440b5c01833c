// Named time ranges, always recorded in process (one Trace per thread that records). Names are string literals: "gdn.scan".
#pragma once

#include <cstdint>
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

// Not shared between threads: every thread that records has its own.
class Trace {
 public:
  void delay_once(const PhaseDelay& delay) { delay_ = delay; }
  std::size_t open(const char* name);
  void close(std::size_t index);
  void clear() { spans_.clear(), top_ = -1; }
  void reserve(std::size_t spans) { spans_.reserve(spans); }
  const std::vector<Span>& spans() const { return spans_; }

 private:
  std::vector<Span> spans_;
  std::int32_t top_ = -1;
  PhaseDelay delay_;
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
