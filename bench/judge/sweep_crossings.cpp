#include "bench/judge/sweep_crossings.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

namespace crossover {
namespace {

using nlohmann::json;

struct Axis {
  std::string name;
  std::vector<double> values;
  std::size_t stride = 1;  // in cells, from one value to the next
};

// Environment variables and knobs are text, so a number may stand in one.
std::optional<double> number_of(const json& value) {
  if (value.is_number()) return value.get<double>();
  if (!value.is_string()) return std::nullopt;
  const std::string& text = value.get_ref<const std::string&>();
  double number = 0;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (failed != std::errc() || end != text.data() + text.size() || !std::isfinite(number)) return std::nullopt;
  return number;
}

// Cells are listed with the last field of the sweep changing fastest (Scenario::cells).
std::optional<Axis> numeric_axis(const json& sweep) {
  std::optional<Axis> found;
  for (const auto& [where, values] : sweep.items()) {
    if (found) found->stride *= values.size();
    std::vector<double> numbers;
    for (const json& value : values)
      if (const auto number = number_of(value)) numbers.push_back(*number);
    if (numbers.size() < values.size() || numbers.size() < 2) continue;
    if (found) return std::nullopt;
    found = Axis{where.substr(where.rfind('/') + 1), numbers, 1};
  }
  if (found && std::any_of(found->values.begin(), found->values.end(), [](double value) { return value <= 0; })) return std::nullopt;
  return found;
}

// The name of a cell without the part that the axis gives it.
std::string curve_name(const std::string& cell, const std::string& axis) {
  std::string name;
  for (std::size_t start = 0; start < cell.size();) {
    const std::size_t end = std::min(cell.find(' ', start), cell.size());
    const std::string part = cell.substr(start, end - start);
    if (!part.starts_with(axis + "=")) name += (name.empty() ? "" : " ") + part;
    start = end + 1;
  }
  return name;
}

}  // namespace

std::vector<CurveCrossings> sweep_crossings(const Scenario& scenario, const Verdict& verdict) {
  const std::optional<Axis> axis = numeric_axis(json::parse(scenario.json).value("sweep", json::object()));
  if (!axis) return {};
  std::vector<CurveCrossings> curves;
  const std::size_t span = axis->stride * axis->values.size();
  for (std::size_t first = 0; first < verdict.cells.size(); ++first) {
    if (first % span >= axis->stride) continue;  // not the first value of its curve
    std::vector<CurvePoint> points;
    for (std::size_t i = 0; i < axis->values.size(); ++i) {
      const CellAnalysis& cell = verdict.cells[first + i * axis->stride];
      const MetricAnalysis& primary = cell.metrics.at(scenario.primary);
      if (cell.word == Word::kInvalid || !primary.estimate) continue;
      points.push_back({axis->values[i], primary.estimate->effect, primary.estimate->standard_error, primary.pairs - 2});
    }
    CurveCrossings curve{axis->name, curve_name(verdict.cells[first].name, axis->name), find_crossings(points, verdict.look_level), ""};
    curve.sentence = (curve.curve.empty() ? "" : curve.curve + ": ") + describe_crossings(axis->name, points, curve.crossings);
    curves.push_back(std::move(curve));
  }
  return curves;
}

}  // namespace crossover
