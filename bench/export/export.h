// Results for other programs, made from result files:
//   json         the result files as one list            csv        one row per sample and metric
//   junit        a test case per cell                    markdown   a table of verdicts
//   github       workflow annotations, a line per cell   gbench     Google Benchmark's JSON: compare.py filters FILE arm:A arm:B
//   llama-bench  its JSON rows, one per arm and test     openmetrics  medians, effects and verdicts as gauges
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace crossover {

struct ExportTo {
  std::string format;
  std::filesystem::path file;
};

ExportTo parse_export(const std::string& option);  // "junit=report.xml"; std::invalid_argument

// `publish` leaves host names and folders out. std::runtime_error: a result that cannot be read, a file that cannot be written, or a
// format that has no place for anything in the results (llama-bench: neither prefill nor decode).
void write_export(const ExportTo& to, const std::vector<std::filesystem::path>& result_files, bool publish = false);

}  // namespace crossover
