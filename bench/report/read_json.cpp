#include "bench/report/read_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>

namespace crossover::report {

namespace {

constexpr int kDepthLimit = 64;                         // real files use ten levels
constexpr std::uintmax_t kFileLimitBytes = 512u << 20;  // a week of samples stays far below
constexpr std::size_t kFieldLimit = 20'000;             // of one object: finding one walks over all

}  // namespace

const Json& member(const Json& object, const char* key) {
  static const Json kNothing;
  if (!object.is_object()) return kNothing;
  const auto found = object.find(key);
  return found == object.end() ? kNothing : *found;
}

std::string text_of(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_null()) return "";
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string text(const Json& object, const char* key) { return text_of(member(object, key)); }

std::optional<double> optional_number(const Json& value) {
  if (!value.is_number()) return std::nullopt;
  const double number = value.get<double>();
  return std::isfinite(number) ? std::optional(number) : std::nullopt;
}

std::optional<double> number(const Json& object, const char* key) { return optional_number(member(object, key)); }

long whole(const Json& object, const char* key) {
  const double value = number(object, key).value_or(0);
  return std::abs(value) < 1e9 ? static_cast<long>(value) : 0;
}

std::optional<Interval> interval(const Json& object, const char* key) {
  const Json& pair = member(object, key);
  if (!pair.is_array() || pair.size() != 2) return std::nullopt;
  const auto low = optional_number(pair[0]), high = optional_number(pair[1]);
  if (!low || !high) return std::nullopt;
  return Interval{*low, *high};
}

void flatten(const Json& value, const std::string& name, std::vector<Fact>& facts) {
  if (value.is_object()) {
    for (const auto& [key, item] : value.items()) flatten(item, name.empty() ? key : name + "." + key, facts);
  } else if (value.is_array() && std::none_of(value.begin(), value.end(), [](const Json& item) { return item.is_structured(); })) {
    std::string line;
    for (const Json& item : value) line += (line.empty() ? "" : ", ") + text_of(item);
    facts.push_back({name, line});
  } else if (value.is_array()) {
    for (std::size_t i = 0; i < value.size(); ++i) {
      const std::string own = text(value[i], value[i].contains("metric") ? "metric" : "name");
      flatten(value[i], name + "." + (own.empty() ? std::to_string(i) : own), facts);
    }
  } else if (const std::string text = text_of(value); !text.empty()) {
    facts.push_back({name, text});
  }
}

Json parse_bounded(const std::filesystem::path& file, const std::string& skipped) {
  std::error_code failed;
  const std::uintmax_t bytes = std::filesystem::file_size(file, failed);
  if (failed) throw std::runtime_error(failed.message());
  if (bytes > kFileLimitBytes) throw std::runtime_error(fmt::format("it has {} bytes, at most {} are read", bytes, kFileLimitBytes));
  std::ifstream stream(file, std::ios::binary);
  if (!stream) throw std::runtime_error("it cannot be opened");
  std::vector<std::size_t> fields(kDepthLimit + 2, 0);
  return Json::parse(stream, [&](int depth, Json::parse_event_t event, Json& value) {
    if (depth > kDepthLimit) throw std::runtime_error(fmt::format("it is nested more than {} deep", kDepthLimit));
    if (event == Json::parse_event_t::object_start) fields[static_cast<std::size_t>(depth) + 1] = 0;
    if (event != Json::parse_event_t::key) return true;
    if (++fields[static_cast<std::size_t>(depth)] > kFieldLimit)
      throw std::runtime_error(fmt::format("an object has more than {} fields", kFieldLimit));
    return skipped.empty() || value.get_ref<const std::string&>() != skipped;
  });
}

}  // namespace crossover::report
