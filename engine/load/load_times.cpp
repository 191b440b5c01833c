#include "engine/load/load_times.h"

namespace crossover {

std::vector<PhaseShare> load_shares(const std::vector<Trace>& workers, const ConvertReport& converted, double begin_s, double end_s) {
  std::vector<const Trace*> threads;
  for (const std::vector<Trace>* part : {&workers, &converted.readers, &converted.shared_readers})
    for (const Trace& trace : *part) threads.push_back(&trace);
  std::vector<PhaseShare> shares = wall_shares(threads, begin_s, end_s);
  for (const Trace& trace : converted.shared_readers)
    for (const PhaseShare& elsewhere : wall_shares({&trace}, begin_s, end_s))
      for (PhaseShare& share : shares)
        if (share.name == elsewhere.name) share.busy_s -= elsewhere.busy_s;
  return shares;
}

void add_timeline(int rank, const std::vector<Trace>& workers, const std::vector<Trace>& readers, double begin_s, std::vector<LoadSpan>& out) {
  constexpr double kGap_s = 2e-3;
  const auto add = [&](const Trace& trace, int thread) {
    for (const TimelineSpan& span : timeline(trace, kGap_s)) out.push_back({rank, thread, span.name, span.start_s - begin_s, span.end_s - begin_s});
  };
  for (std::size_t t = 0; t < workers.size(); ++t) add(workers[t], static_cast<int>(t));
  for (std::size_t t = 0; t < readers.size(); ++t) add(readers[t], -1 - static_cast<int>(t));
}

std::vector<double> busy_seconds(const std::vector<Trace>& traces, double begin_s, double end_s) {
  std::vector<double> busy_s;
  for (const Trace& trace : traces) {
    double& sum_s = busy_s.emplace_back(0);
    for (const PhaseShare& phase : wall_shares({&trace}, begin_s, end_s))
      if (phase.name != "wait" && phase.name != "other") sum_s += phase.busy_s;
  }
  return busy_s;
}

}  // namespace crossover
