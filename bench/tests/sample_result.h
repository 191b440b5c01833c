// A result file for the tests of reports and exports.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace crossover {

using nlohmann::ordered_json;

// Sixteen samples, B 10 % faster; every optional part of a result file is there.
inline ordered_json sample_result() {
  ordered_json result{{"schema", "crossover.result/1"},
                      {"tool", "crossover 0.1.0"},
                      {"build", {{"commit", "abc123"}, {"compiler", "GNU 12.2"}}},
                      {"scenario",
                       {{"name", "planted"},
                        {"question", "Is B faster?"},
                        {"workload", {{"kind", "prefill"}, {"model", {{"path", "/home/someone/models/tiny"}}}}},
                        {"arms", {{"A", {{"knobs", {{"CROSSOVER_GDN_PREFILL", "recurrent"}}}}}, {"B", ordered_json::object()}}}}},
                      {"environment", {{"host", "build-box-7"}, {"cpu", {{"model", "Some CPU"}, {"allowed_cores", 2}}}}},
                      {"plan", {{"primary", "prefill.total_s"}, {"pairs", 8}, {"threshold_percent", 2}, {"hash", "f00d"}}},
                      {"knobs",
                       {{"A", {{"CROSSOVER_GDN_PREFILL", {{"value", "recurrent"}, {"origin", "scenario"}}}}},
                        {"B", {{"CROSSOVER_GDN_PREFILL", {{"value", "chunked"}, {"origin", "default"}}}}}}},
                      {"verdict", {{"word", "FASTER"}, {"reason", "all gates passed"}, {"exit_code", 0}}}};
  result["samples"] = ordered_json::array();
  for (int i = 0; i < 16; ++i) {
    const bool b = (i / 2 % 2 == 0) == (i % 2 == 1);
    result["samples"].push_back({{"arm", b ? "B" : "A"},
                                 {"pair", i / 2},
                                 {"position", i},
                                 {"cell", 0},
                                 {"exit", 0},
                                 {"metrics", {{"prefill.total_s", (b ? 0.9 : 1.0) + 0.001 * i}, {"load.read_s", 0.2}}},
                                 {"phases", {{{"name", "gdn.scan"}, {"rank", 0}, {"start_s", 0.1}, {"duration_s", 0.5}, {"parent", -1}}}},
                                 {"path", {{"gdn", b ? "chunked-scan" : "token-by-token"}}},
                                 {"page_cache", {{"state", i == 3 ? "partial" : "warm"}}},
                                 {"flags", i == 0 ? ordered_json{"first"} : ordered_json::array()}});
  }
  const ordered_json effect{{"effect_percent", -10.25},
                            {"interval_percent", {-11.5, -9.125}},
                            {"order_effect_percent", 0.375},
                            {"order_interval_percent", {-0.5, 1.25}},
                            {"hodges_lehmann_percent", -10.5},
                            {"mde_percent", 1.75},
                            {"n_pairs", 8},
                            {"verdict", "FASTER"}};
  result["analysis"] = {{"cells",
                         {{{"metrics", {{"load.read_s", {{"effect_percent", 0.0}}}, {"prefill.total_s", effect}}},
                           {"outputs", {{"identical", true}}},
                           {"waterfall", {{{"phase", "load.read"}, {"delta_s", -0.0625}, {"interval_s", {-0.07, -0.05}}}}},
                           {"residual_s", 0.00025}}}}};
  return result;
}

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
