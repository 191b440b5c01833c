// A result file for the tests of reports and exports.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace crossover {

using nlohmann::ordered_json;

// Sixteen samples, B 10 % faster; every optional part of a result file is there.
ordered_json sample_result();

// Cells of a sweep over chunk = 1, 2, 4, ...
inline ordered_json swept_result(int cells, int pairs) {
  ordered_json result = sample_result();
  result["samples"] = ordered_json::array(), result["analysis"]["cells"] = ordered_json::array();
  ordered_json values = ordered_json::array();
  int position = 0;
  for (int cell = 0; cell < cells; ++cell) {
    values.push_back(1 << cell);
    ordered_json one = sample_result()["analysis"]["cells"][0];
    one["cell"] = cell, one["name"] = "chunk=" + std::to_string(1 << cell),
    one["verdict"] = {{"word", "FASTER"}, {"reason", "it is"}};
    result["analysis"]["cells"].push_back(one);
    for (int i = 0; i < 2 * pairs; ++i, ++position) {
      ordered_json sample = sample_result()["samples"][static_cast<std::size_t>(i % 16)];
      sample["cell"] = cell, sample["pair"] = i / 2, sample["position"] = position;
      for (int metric = 0; metric < 40; ++metric)
        sample["metrics"]["prefill.part" + std::to_string(metric) + "_s"] = 0.01 * (metric + i);
      result["samples"].push_back(sample);
    }
  }
  result["scenario"]["sweep"] = {{"/workload/chunk", values}};
  return result;
}

}  // namespace crossover
