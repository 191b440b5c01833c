#include "engine/phase_clock.h"

namespace crossover {
namespace {

// What the rank's own thread recorded, with the times that its device has measured meanwhile.
const Trace& resolved(Rank& rank) {
  rank.enter();
  rank.traces[0].resolve();
  return rank.traces[0];
}

}  // namespace

bool times_ranges(Rank& rank, const std::string& knob, std::size_t tokens) {
  rank.traces[0].record(true);
  if (!rank.clock) return true;
  const bool events = knob == "events" || (knob == "auto" && tokens > 1);
  rank.traces[0].set_clock(events ? rank.clock.get() : nullptr);
  rank.counters.path("gpu_phases", events ? "events" : "off");
  return events;
}

std::vector<RankPhases> pass_phases(const Ranks& ranks, double begin_s, double end_s) {
  std::vector<RankPhases> phases;
  for (std::size_t r = 0; r < ranks.size(); ++r) phases.push_back({static_cast<int>(r), wall_shares({&resolved(*ranks[r])}, begin_s, end_s)});
  return phases;
}

std::vector<LoadSpan> pass_timeline(const Ranks& ranks, double begin_s) {
  std::vector<LoadSpan> spans;
  for (std::size_t r = 0; r < ranks.size(); ++r)
    for (const TimelineSpan& span : timeline(resolved(*ranks[r]), 0))
      if (span.start_s >= begin_s) spans.push_back({static_cast<int>(r), 0, span.name, span.start_s - begin_s, span.end_s - begin_s});
  return spans;
}

}  // namespace crossover
