#include "bench/metric_text.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "bench/json_text.h"
#include "bench/regex.h"

namespace crossover {

namespace {

using nlohmann::json;

double to_number(const std::string& text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value))
    throw std::runtime_error(fmt::format("'{}' is no finite number", text.substr(0, 60)));
  return value;
}

const json* find(const json& document, const std::string& pointer) {
  const json::json_pointer where(pointer);
  try {
    return document.contains(where) ? &document.at(where) : nullptr;
  } catch (const json::exception&) {
    return nullptr;  // an index that no list can have
  }
}

}  // namespace

double number_at(const std::string& pointer, const std::string& text) {
  const json document = parse_json(text, "its output");
  const json* value = find(document, pointer);
  if (!value) throw std::runtime_error(fmt::format("its output has nothing at {}", pointer));
  if (value->is_string()) return to_number(value->get<std::string>());
  if (!value->is_number() || !std::isfinite(value->get<double>()))
    throw std::runtime_error(fmt::format("{} at {} is no finite number", value->dump().substr(0, 60), pointer));
  return value->get<double>();
}

double number_matching(const std::string& pattern, const std::string& text) {
  const auto match = last_match(pattern, text);
  if (!match) throw std::runtime_error(fmt::format("no match of '{}' in its output", pattern));
  return to_number(*match);
}

void check_json_pointer(const std::string& pointer) {
  try {
    const json::json_pointer parsed(pointer);
  } catch (const json::exception&) {
    throw std::invalid_argument(fmt::format("'{}' is no JSON pointer; write it like /0/avg_ts", pointer));
  }
}

}  // namespace crossover
