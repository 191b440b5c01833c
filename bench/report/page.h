// The documents of a report, from what was loaded and drawn.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

#include "bench/report/figure.h"
#include "bench/report/view.h"

namespace crossover::report {

struct Page {
  ResultView result;
  std::vector<Figure> figures;
  std::string stem;  // of its files in the folder
};

std::string markdown(const std::vector<Page>& pages);    // fits a comment of a pull request
std::string html(const Page& page);                      // self-contained: no network, no script
std::string html_index(const std::vector<Page>& pages);  // a row for each result, linked to STEM.html beside it

// Phases of every sample in the Trace Event Format, for ui.perfetto.dev or chrome://tracing: a process for each rank of a sample, a row
// for its shares and one for each of its threads where their timeline was kept, counters of bytes; a process for what a traced sample saw of
// a GPU. Whole samples are left out beyond
// 400,000 events; "otherData" says how many.
void write_trace(const std::vector<Page>& pages, std::ostream& out);

}  // namespace crossover::report
