#include "bench/export/export.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "bench/export/export_formats.h"
#include "bench/report/read_json.h"
#include "bench/report/strip.h"
#include "bench/result.h"
#include "engine/knobs.h"

namespace crossover {

namespace {

using Format = std::string (*)(const Results&);

struct NamedFormat {
  const char* name;
  Format write;  // null: the files themselves
};

constexpr NamedFormat kFormats[] = {{"json", nullptr},
                                    {"junit", export_junit},
                                    {"csv", export_csv},
                                    {"markdown", export_markdown},
                                    {"github", export_github},
                                    {"gbench", export_gbench},
                                    {"llama-bench", export_llama_bench},
                                    {"openmetrics", export_openmetrics}};

std::string as_json(const std::vector<std::filesystem::path>& files, bool publish) {
  auto list = report::Json::array();
  for (const std::filesystem::path& file : files) {
    list.push_back(report::parse_bounded(file, ""));
    if (publish) report::strip_private(list.back());
  }
  return list.dump(1, ' ', false, report::Json::error_handler_t::replace) + "\n";
}

}  // namespace

ExportTo parse_export(const std::string& option) {
  const std::size_t equals = option.find('=');
  const std::string format = option.substr(0, equals);
  std::vector<std::string> names;
  for (const NamedFormat& known : kFormats) names.emplace_back(known.name);
  if (std::find(names.begin(), names.end(), format) == names.end()) {
    const std::string guess = nearest(format, names);
    throw std::invalid_argument(
        fmt::format("--export knows no format '{}'; {}", format,
                    guess.empty() ? fmt::format("use one of {}", fmt::join(names, ", ")) : "did you mean " + guess + "?"));
  }
  if (equals == std::string::npos || equals + 1 == option.size())
    throw std::invalid_argument(fmt::format("--export {} names no file; write --export {}=FILE", option, format));
  return {format, option.substr(equals + 1)};
}

void write_export(const ExportTo& to, const std::vector<std::filesystem::path>& result_files, bool publish) {
  const auto format =
      std::find_if(std::begin(kFormats), std::end(kFormats), [&](const NamedFormat& known) { return to.format == known.name; });
  if (format == std::end(kFormats)) throw std::invalid_argument(fmt::format("there is no format '{}' to export", to.format));
  if (!format->write) return write_whole_file(to.file, as_json(result_files, publish));
  Results results;
  for (const std::filesystem::path& file : result_files) results.push_back(report::load_result(file, publish));
  write_whole_file(to.file, format->write(results));
}

}  // namespace crossover
