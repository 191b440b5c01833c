#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "bench/report/page.h"

namespace crossover::report {

namespace {

// Shares of a whole have lengths and no place in it: siblings of a rank that would lie over each other are laid end to
// end.
std::vector<double> starts_s(const std::vector<SampleView::Phase>& phases) {
  std::vector<double> starts;
  std::map<std::pair<long, long>, double> free_from;  // by parent and rank
  for (std::size_t i = 0; i < phases.size(); ++i) {
    const SampleView::Phase& phase = phases[i];
    const bool nested = phase.parent >= 0 && static_cast<std::size_t>(phase.parent) < i;
    const double inside_s =
        nested ? starts[static_cast<std::size_t>(phase.parent)] - phases[static_cast<std::size_t>(phase.parent)].start_s
               : 0;
    double& free_s = free_from.try_emplace({phase.parent, phase.rank}, phase.start_s + inside_s).first->second;
    starts.push_back(std::max(phase.start_s + inside_s, free_s));
    free_s = starts.back() + phase.duration_s;
  }
  return starts;
}

constexpr long kThreadsOfARank = 1000;  // rows of the viewer: shares under the rank's number, its threads after all ranks

// Threads as they were, each in a row of its own below the shares.
void add_timeline(const SampleView& sample, long process, nlohmann::json& events) {
  std::map<std::pair<long, long>, long> rows;
  for (const SampleView::Span& span : sample.timeline) {
    const auto [row, fresh] = rows.try_emplace({span.rank, span.thread}, kThreadsOfARank * (span.rank + 1) + static_cast<long>(rows.size()));
    if (fresh) {
      const std::string who = span.thread < 0 ? "reader " + std::to_string(-1 - span.thread) : "worker " + std::to_string(span.thread);
      events.push_back({{"ph", "M"},
                        {"name", "thread_name"},
                        {"pid", process},
                        {"tid", row->second},
                        {"args", {{"name", "rank " + std::to_string(span.rank) + " " + who}}}});
    }
    events.push_back({{"ph", "X"},
                      {"name", span.phase},
                      {"pid", process},
                      {"tid", row->second},
                      {"ts", span.start_s * 1e6},
                      {"dur", (span.end_s - span.start_s) * 1e6}});
  }
}

}  // namespace

// The Trace Event Format that ui.perfetto.dev and chrome://tracing open: one process a sample, one thread a rank
// and, where the timeline was kept, one for each of its threads.
std::string trace_json(const std::vector<Page>& pages) {
  auto events = nlohmann::json::array();
  long process = 0;
  for (const Page& page : pages)
    for (const SampleView& sample : page.result.samples) {
      ++process;
      if (sample.phases.empty()) continue;
      const std::string name = page.result.name + " " + sample.arm + " pair " + std::to_string(sample.pair);
      events.push_back(
          {{"ph", "M"}, {"name", "process_name"}, {"pid", process}, {"tid", 0}, {"args", {{"name", name}}}});
      const std::vector<double> starts = starts_s(sample.phases);
      for (std::size_t i = 0; i < starts.size(); ++i)
        events.push_back({{"ph", "X"},
                          {"name", sample.phases[i].name},
                          {"pid", process},
                          {"tid", sample.phases[i].rank},
                          {"ts", starts[i] * 1e6},
                          {"dur", sample.phases[i].duration_s * 1e6}});
      add_timeline(sample, process, events);
    }
  const nlohmann::json trace{{"traceEvents", std::move(events)}, {"displayTimeUnit", "ms"}};
  return trace.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace crossover::report
