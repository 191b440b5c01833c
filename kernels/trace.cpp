#include "kernels/trace.h"

#include <time.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <string_view>
#include <thread>
#include <utility>

#include "kernels/nvtx.h"

namespace crossover {

double monotonic_s() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

std::size_t Trace::open(const char* name) {
  nvtx::push(name);
  if (listener_) listener_->opened(name);
  if (!records_) return kNotRecorded;
  const double now = monotonic_s();
  spans_.push_back({name, now, now, top_});
  if (clock_) marks_.push_back({clock_->mark(), 0});
  top_ = static_cast<std::int32_t>(spans_.size()) - 1;
  if (delay_.seconds > 0 && delay_.phase == name) std::this_thread::sleep_for(std::chrono::duration<double>(std::exchange(delay_.seconds, 0)));
  return spans_.size() - 1;
}

void Trace::close(std::size_t index) {
  if (index != kNotRecorded) {
    spans_[index].end_s = monotonic_s();
    if (clock_) marks_[index - (spans_.size() - marks_.size())].close = clock_->mark();
    top_ = spans_[index].parent;
  }
  if (listener_) listener_->closed();
  nvtx::pop();
}

void Trace::clear() {
  resolve();
  spans_.clear(), top_ = -1;
}

void Trace::reserve(std::size_t spans) {
  spans_.reserve(spans);
  if (clock_) marks_.reserve(spans);
}

void Trace::set_clock(DeviceClock* clock) {
  if (clock == clock_) return;  // without waiting for the device
  resolve();
  clock_ = clock;
}

void Trace::resolve() {
  if (marks_.empty()) return;
  const std::span<const double> times_s = clock_->resolve();
  if (times_s.empty()) return marks_.clear();  // no mark could be set
  Span* const first = &spans_[spans_.size() - marks_.size()];
  // Whatever two clocks disagree by: nothing ran before it was asked for, or after the device was waited for.
  const double asked_s = first->start_s, done_s = monotonic_s();
  for (std::size_t i = 0; i < marks_.size(); ++i) {
    first[i].start_s = std::clamp(times_s[marks_[i].open], asked_s, done_s);
    first[i].end_s = std::clamp(times_s[marks_[i].close], asked_s, done_s);
  }
  marks_.clear();
}

namespace {

struct Event {
  double at_s;
  std::size_t thread;
  const char* name;  // what the thread is in from at_s on; null = nothing
};

// The spans of one thread nest, so walking them in opening order with a stack gives the innermost one at each instant.
void add_events(const Trace& trace, std::size_t thread, std::vector<Event>& events) {
  const std::vector<Span>& spans = trace.spans();
  std::vector<std::size_t> open;
  auto close_until = [&](double at_s) {
    while (!open.empty() && spans[open.back()].end_s <= at_s) {
      const double end_s = spans[open.back()].end_s;
      open.pop_back();
      events.push_back({end_s, thread, open.empty() ? nullptr : spans[open.back()].name});
    }
  };
  for (std::size_t i = 0; i < spans.size(); ++i) {
    close_until(spans[i].start_s);
    events.push_back({spans[i].start_s, thread, spans[i].name});
    open.push_back(i);
  }
  while (!open.empty()) close_until(spans[open.back()].end_s);
}

bool waits(const char* name) { return std::string_view(name) == "wait"; }

}  // namespace

std::vector<TimelineSpan> timeline(const Trace& trace, double gap_s) {
  std::vector<Event> events;
  add_events(trace, 0, events);
  std::vector<TimelineSpan> spans;
  for (std::size_t i = 0; i + 1 < events.size(); ++i) {
    const Event& event = events[i];
    const double end_s = events[i + 1].at_s;
    if (!event.name || end_s <= event.at_s) continue;
    if (!spans.empty() && std::string_view(spans.back().name) == event.name && event.at_s - spans.back().end_s < gap_s) spans.back().end_s = end_s;
    else spans.push_back({event.name, event.at_s, end_s});
  }
  return spans;
}

std::vector<PhaseShare> wall_shares(const std::vector<const Trace*>& threads, double begin_s, double end_s) {
  std::vector<Event> events;
  for (std::size_t t = 0; t < threads.size(); ++t) add_events(*threads[t], t, events);
  std::stable_sort(events.begin(), events.end(), [](const Event& a, const Event& b) { return a.at_s < b.at_s; });
  std::vector<const char*> current(threads.size(), nullptr);
  std::map<std::string, PhaseShare> shares;
  auto give = [&](const char* name, double share_s, double busy_s) {
    PhaseShare& phase = shares.try_emplace(name, PhaseShare{name, 0, 0}).first->second;
    phase.share_s += share_s;
    phase.busy_s += busy_s;
  };
  auto account = [&](double from_s, double to_s) {
    const double length_s = std::min(to_s, end_s) - std::max(from_s, begin_s);
    if (length_s <= 0) return;
    const auto working = std::count_if(current.begin(), current.end(), [](const char* n) { return n && !waits(n); });
    const auto waiting = std::count_if(current.begin(), current.end(), [](const char* n) { return n && waits(n); });
    if (working + waiting == 0) return give("other", length_s, 0);
    for (const char* phase : current) {
      if (!phase) continue;
      const bool counts = working == 0 || !waits(phase);
      give(phase, counts ? length_s / static_cast<double>(working ? working : waiting) : 0, length_s);
    }
  };
  double last_s = begin_s;
  for (const Event& event : events) {
    account(last_s, event.at_s);
    last_s = std::max(last_s, event.at_s);
    current[event.thread] = event.name;
  }
  account(last_s, end_s);
  std::vector<PhaseShare> result;
  for (auto& [name, share] : shares) result.push_back(share);
  return result;
}

}  // namespace crossover
