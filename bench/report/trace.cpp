#include <nlohmann/json.hpp>

#include "bench/report/page.h"

namespace crossover::report {

// The Trace Event Format that ui.perfetto.dev and chrome://tracing open: one process a sample, one thread a rank.
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
      for (const SampleView::Phase& phase : sample.phases)
        events.push_back({{"ph", "X"},
                          {"name", phase.name},
                          {"pid", process},
                          {"tid", phase.rank},
                          {"ts", phase.start_s * 1e6},
                          {"dur", phase.duration_s * 1e6}});
    }
  const nlohmann::json trace{{"traceEvents", std::move(events)}, {"displayTimeUnit", "ms"}};
  return trace.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace crossover::report
