// Each format of bench/export/export.h as a text.
#pragma once

#include <string>
#include <vector>

#include "bench/report/view.h"

namespace crossover {

using Results = std::vector<report::ResultView>;

std::string export_junit(const Results& results);
std::string export_csv(const Results& results);
std::string export_markdown(const Results& results);
std::string export_github(const Results& results);
std::string export_gbench(const Results& results);
std::string export_llama_bench(const Results& results);
std::string export_openmetrics(const Results& results);

}  // namespace crossover
