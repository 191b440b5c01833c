// Results for other programs: json (the result files as one list), junit (CI), csv (one row per sample and metric), markdown.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "bench/runner.h"

namespace crossover {

struct Finished {
  Scenario scenario;
  RunOutcome outcome;
};

struct ExportTo {
  std::string format;
  std::filesystem::path file;
};

ExportTo parse_export(const std::string& option);  // "junit=report.xml"; std::invalid_argument

void write_export(const ExportTo& to, const std::vector<Finished>& results);

}  // namespace crossover
