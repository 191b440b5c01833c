// The documents of a report, from what was loaded and drawn.
#pragma once

#include <string>
#include <vector>

#include "bench/report/plots.h"
#include "bench/report/view.h"

namespace crossover::report {

struct Page {
  ResultView result;
  std::vector<Plot> plots;
};

std::string markdown(const std::vector<Page>& pages);
std::string html(const std::vector<Page>& pages);        // self-contained: no network, no script
std::string trace_json(const std::vector<Page>& pages);  // phases of every sample, for a trace viewer

}  // namespace crossover::report
