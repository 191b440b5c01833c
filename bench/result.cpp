#include "bench/result.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "bench/build_info.h"
#include "bench/load_floors.h"

namespace crossover {

namespace {

using nlohmann::json;

json percent_pair(const Interval& interval) { return {percent(interval.low), percent(interval.high)}; }

json metric_json(const MetricAnalysis& metric) {
  json out{{"n_pairs", metric.pairs}};
  if (!metric.estimate) return out;
  const CrossoverEstimate& e = *metric.estimate;
  out["effect_percent"] = percent(e.effect);
  if (e.interval) out["interval_percent"] = percent_pair(*e.interval);
  if (e.equivalence_interval) out["equivalence_interval_percent"] = percent_pair(*e.equivalence_interval);
  if (e.order_interval) {
    out["order_effect_percent"] = percent(e.order_effect);
    out["order_interval_percent"] = percent_pair(*e.order_interval);
  }
  if (e.p_value) out["p_value"] = *e.p_value;
  if (metric.p_adjusted) out["p_adjusted"] = *metric.p_adjusted;
  if (metric.robust) out["hodges_lehmann_percent"] = percent(metric.robust->estimate);
  if (metric.robust && metric.robust->interval) out["hodges_lehmann_interval_percent"] = percent_pair(*metric.robust->interval);
  if (metric.mde) out["mde_percent"] = percent(*metric.mde);
  if (metric.noise_floor) out["noise_floor_percent"] = percent(*metric.noise_floor);
  if (!metric.word.empty()) out["verdict"] = metric.word;
  return out;
}

json outputs_json(const OutputAnalysis& outputs) {
  json out{{"gate", outputs.gate}};
  if (outputs.identical) out["identical"] = *outputs.identical;
  if (outputs.first_divergence) out["first_divergence"] = *outputs.first_divergence;
  if (outputs.logit_gap) out["logit_gap"] = *outputs.logit_gap;
  if (outputs.logit_nmse) out["logit_nmse"] = *outputs.logit_nmse;
  return out;
}

json cell_json(const CellAnalysis& cell, std::size_t index) {
  json out{{"cell", index}, {"metrics", json::object()}, {"outputs", outputs_json(cell.outputs)}};
  if (!cell.name.empty()) out["name"] = cell.name;
  for (const auto& [name, metric] : cell.metrics) out["metrics"][name] = metric_json(metric);
  for (const ControlAnalysis& control : cell.controls) {
    json entry{{"moved", control.moved}};
    if (control.shift_s) entry["shift_s"] = *control.shift_s;
    if (control.shift) entry["shift_percent"] = percent(*control.shift);
    if (control.p_adjusted) entry["p_adjusted"] = *control.p_adjusted;
    out["controls"][control.metric] = entry;
  }
  for (const WaterfallStep& step : cell.waterfall) {
    json entry{{"phase", step.phase}, {"delta_s", step.delta_s}};
    if (step.interval_s) entry["interval_s"] = {step.interval_s->low, step.interval_s->high};
    out["waterfall"].push_back(entry);
  }
  if (cell.residual_s) out["residual_s"] = *cell.residual_s;
  for (const GateResult& gate : cell.gates) {
    out["gates"][gate.gate] = {{"state", gate.state}};
    if (!gate.finding.empty()) out["gates"][gate.gate]["finding"] = gate.finding;
  }
  if (!cell.flags.empty()) out["flags"] = cell.flags;
  out["failed"] = {{"A", cell.failed_a}, {"B", cell.failed_b}};
  out["verdict"] = {{"word", word_text(cell.word)}, {"reason", cell.reason}};
  return out;
}

// Both arms' loads beside what bounds them; null where nothing was loaded.
json floors_json(const Scenario& scenario, const RunOutcome& outcome, std::size_t cell) {
  json out;
  for (const char arm : {'A', 'B'}) {
    const auto rates = outcome.rates.find({static_cast<int>(cell), arm});
    if (rates == outcome.rates.end()) continue;
    std::vector<const Sample*> samples;
    for (const Sample& sample : outcome.samples)
      if (sample.ok() && !sample.control && sample.arm == arm && sample.cell == static_cast<int>(cell)) samples.push_back(&sample);
    if (const auto floors = load_floors(samples, scenario.cells[cell].arm(arm).workload, rates->second))
      out[std::string(1, arm)] = floors_to_json(*floors);
  }
  return out;
}

json plan_json(const Scenario& scenario, const RunOutcome& outcome) {
  json order = json::array();
  for (const PlannedSample& sample : outcome.plan.samples)
    if (!sample.control) order.push_back(std::string(1, sample.arm));
  json out{{"hash", outcome.plan.hash},
           {"seed", scenario.seed},
           {"pairs", scenario.pairs},
           {"looks", scenario.looks},
           {"look_level", outcome.verdict.look_level},
           {"looks_taken", json::array()},
           {"order", order},
           {"primary", scenario.primary},
           {"threshold_percent", scenario.threshold_percent},
           {"noise_floor_percent", percent(outcome.verdict.noise_floor.value_or(0))},
           {"noise_floor_from", outcome.verdict.noise_floor_from},
           {"exploratory", scenario.exploratory}};
  for (const Look& look : outcome.looks)
    out["looks_taken"].push_back({{"pairs", look.pairs}, {"word", word_text(look.word)}, {"alpha_spent", look.alpha_spent}});
  if (outcome.extends) out["extends"] = {{"hash", outcome.extends->plan_hash}, {"pairs", outcome.extends->pairs}};
  return out;
}

json crossings_json(const std::vector<CurveCrossings>& curves) {
  json out = json::array();
  for (const CurveCrossings& curve : curves) {
    json entry{{"axis", curve.axis}, {"crossings", json::array()}, {"sentence", curve.sentence}};
    if (!curve.curve.empty()) entry["curve"] = curve.curve;
    for (const Crossing& crossing : curve.crossings) {
      json place{{"at", crossing.at}, {"shown", crossing.shown}, {"faster_above", crossing.b_wins_above ? "B" : "A"}};
      if (crossing.low) place["low"] = *crossing.low;
      if (crossing.high) place["high"] = *crossing.high;
      entry["crossings"].push_back(std::move(place));
    }
    out.push_back(std::move(entry));
  }
  return out;
}

// As the processes resolved them; an external program resolves none, so there it is what the scenario sets.
json knobs_json(const Scenario& scenario, const std::vector<Sample>& samples, char arm) {
  json out = json::object();
  for (const auto& [name, value] : scenario.cells[0].arm(arm).knobs) out[name] = {{"value", value}, {"origin", "scenario"}};
  for (const Sample& sample : samples) {
    if (sample.arm != arm || sample.knobs.empty()) continue;
    for (const auto& [name, knob] : sample.knobs) out[name] = {{"value", knob.value}, {"origin", knob.origin}};
    break;
  }
  return out;
}

std::set<std::string> kernels_of(const Sample& trace) {
  std::set<std::string> names;
  const auto path = trace.path.find("kernels");
  if (path == trace.path.end()) return names;
  std::istringstream list(path->second);
  for (std::string name; std::getline(list, name, '+');) names.insert(name);
  return names;
}

// The traced sample, by how much it was slower than those that were not, and the kernels that the other arm did without: they tell that a
// knob took effect.
json trace_json(const Sample& trace, const RunOutcome& outcome) {
  json out = sample_to_json(trace);
  for (const char* metric : {"prefill.total_s", "decode.total_s"}) {
    double sum_s = 0, count = 0;
    for (const Sample& sample : outcome.samples) {
      const auto value = sample.metrics.find(metric);
      if (!sample.ok() || sample.control || sample.arm != trace.arm || sample.cell != trace.cell || value == sample.metrics.end()) continue;
      sum_s += value->second, ++count;
    }
    if (const auto traced = trace.metrics.find(metric); traced != trace.metrics.end() && sum_s > 0)
      out["against_samples_percent"][metric] = 100 * (traced->second / (sum_s / count) - 1);
  }
  for (const Sample& other : outcome.traces) {
    if (other.arm == trace.arm || other.cell != trace.cell || !other.path.contains("kernels") || !trace.path.contains("kernels")) continue;
    const std::set<std::string> here = kernels_of(trace), there = kernels_of(other);
    std::vector<std::string> only;
    std::set_difference(here.begin(), here.end(), there.begin(), there.end(), std::back_inserter(only));
    out["kernels_only_here"] = only;
  }
  return out;
}

json build_json(const Scenario& scenario) {
  json out = json::parse(build_info_json());
  for (const char arm : {'A', 'B'})
    if (const std::string& program = scenario.cells[0].arm(arm).program; !program.empty()) out["programs"][std::string(1, arm)] = program;
  return out;
}

}  // namespace

json result_to_json(const Scenario& scenario, const RunOutcome& outcome, const std::string& environment,
                    const std::vector<std::string>& dropped_variables) {
  json out{{"schema", "crossover.result/1"},
           {"tool", "crossover " CROSSOVER_VERSION},
           {"build", build_json(scenario)},
           {"scenario", json::parse(scenario.json)},
           {"environment", json::parse(environment)},
           {"plan", plan_json(scenario, outcome)},
           {"samples", json::array()},
           {"traces", json::array()},
           {"analysis", json::array()}};
  out["environment"]["dropped_variables"] = dropped_variables;
  if (outcome.ceilings) out["environment"]["ceilings"] = ceilings_to_json(*outcome.ceilings);
  for (const char arm : {'A', 'B'}) out["knobs"][std::string(1, arm)] = knobs_json(scenario, outcome.samples, arm);
  for (const Sample& sample : outcome.samples) out["samples"].push_back(sample_to_json(sample));
  for (const Sample& trace : outcome.traces) out["traces"].push_back(trace_json(trace, outcome));
  for (std::size_t i = 0; i < outcome.verdict.cells.size(); ++i) {
    out["analysis"].push_back(cell_json(outcome.verdict.cells[i], i));
    if (json floors = floors_json(scenario, outcome, i); !floors.is_null()) out["analysis"].back()["floors"] = std::move(floors);
  }
  if (!outcome.verdict.crossings.empty()) out["crossings"] = crossings_json(outcome.verdict.crossings);
  out["verdict"] = {{"word", word_text(outcome.verdict.word)},
                    {"reason", outcome.verdict.reason},
                    {"exit_code", word_exit_code(outcome.verdict.word)}};
  return out;
}

void write_result(const Scenario& scenario, const RunOutcome& outcome, const std::string& environment,
                  const std::vector<std::string>& dropped_variables) {
  const json result = result_to_json(scenario, outcome, environment, dropped_variables);
  write_whole_file(outcome.result_file, result.dump(1, ' ', false, json::error_handler_t::replace) + "\n");
}

}  // namespace crossover
