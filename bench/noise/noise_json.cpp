#include "bench/noise/noise_json.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <stdexcept>

namespace crossover {

namespace {

using nlohmann::json;

double variance(const json& floor, const char* name) {
  const double value = floor.at(name).get<double>();
  if (!std::isfinite(value) || value < 0) throw std::runtime_error(std::string(name) + " is no variance");
  return value;
}

}  // namespace

json noise_to_json(const CellNoise& cell) {
  json out{{"from", cell.from}, {"metrics", json::object()}};
  for (const auto& [name, floor] : cell.metrics)
    out["metrics"][name] = {{"within_variance_ln2", floor.within},
                            {"between_variance_ln2", floor.between},
                            {"comparisons", floor.comparisons},
                            {"pairs", floor.pairs}};
  return out;
}

CellNoise noise_from_json(const json& found) {
  try {
    CellNoise cell;
    cell.from = found.at("from").get<std::string>();
    for (const auto& [name, floor] : found.at("metrics").items())
      cell.metrics[name] = {variance(floor, "within_variance_ln2"), variance(floor, "between_variance_ln2"), floor.at("comparisons"), floor.at("pairs")};
    return cell;
  } catch (const json::exception& error) {
    throw std::runtime_error(error.what());
  }
}

}  // namespace crossover
