#include "engine/decode_graphs.h"

namespace crossover {

// A range that is timed or traced ends a graph: where all are, little is left of one.
bool DecodeGraphs::wanted(bool times_ranges) const {
  return wanted_ == "on" || (wanted_ == "auto" && !times_ranges && !ends_.tells() && graphs_.refusal().empty());
}

void DecodeGraphs::note(Counters& counters, std::int64_t started) const {
  if (started > 0) counters.path("decode", "graph"), counters.add("launches.graph", started);
  if (graphs_.refusal().empty()) return;
  counters.path("decode", "launches");
  counters.path("decode.refused", graphs_.refusal());
}

RangeListener* DecodeGraphs::listener(RangeListener* listener) {
  ends_.tell(listener);
  return listener ? &ends_ : nullptr;
}

void DecodeGraphs::Ends::opened(const char* name) {
  (void)device_.hand_over_quietly();  // a failure shows when the pass ends
  listener_->opened(name);
}

void DecodeGraphs::Ends::closed() {
  (void)device_.hand_over_quietly();
  listener_->closed();
}

}  // namespace crossover
