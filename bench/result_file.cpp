#include "bench/result_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "bench/report/read_json.h"

namespace crossover {

namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kSchema = "crossover.result/";
constexpr int kNewestVersion = 1;

void check_schema(const Json& json) {
  const std::string schema = report::text(json, "schema");
  if (!schema.starts_with(kSchema)) throw std::runtime_error("it has no \"schema\": \"crossover.result/1\"");
  const std::string version = schema.substr(kSchema.size());
  if (version.empty() || version.size() > 4 || version.find_first_not_of("0123456789") != std::string::npos)
    throw std::runtime_error("its schema is '" + schema.substr(0, 80) + "'");
  if (std::stoi(version) > kNewestVersion)
    throw std::runtime_error(
        fmt::format("it was written by a newer version (schema {}, this one knows up to {})", version, kNewestVersion));
  if (report::text(report::member(json, "verdict"), "word").empty()) throw std::runtime_error("it has no verdict");
  if (!report::member(json, "samples").is_array()) throw std::runtime_error("it has no samples");
}

}  // namespace

std::string refused_result(const std::string& asked, const std::filesystem::path& file, const std::string& why) {
  std::string line = why;
  std::replace_if(
      line.begin(), line.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) > 0x7e; },
      '?');
  return "cannot " + asked + " " + file.string() + ": " + line.substr(0, 300) + "; give a result.json of crossover run";
}

Json read_result(const std::filesystem::path& file, const std::string& asked, const std::string& skipped) {
  try {
    Json json = report::parse_bounded(file, skipped);
    check_schema(json);
    return json;
  } catch (const std::exception& error) {
    throw std::runtime_error(refused_result(asked, file, error.what()));
  }
}

}  // namespace crossover
