#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>

#include "bench/report/load_parts.h"
#include "bench/report/strip.h"
#include "bench/result_file.h"

namespace crossover::report {

namespace {

std::vector<Fact> facts_of(const Json& value) {
  std::vector<Fact> facts;
  flatten(value, "", facts);
  return facts;
}

std::vector<SampleView::Span> timeline_of(const Json& threads) {
  std::vector<SampleView::Span> timeline;
  if (!threads.is_array()) return timeline;
  for (const Json& thread : threads) {
    const Json& spans = member(thread, "spans");
    if (!spans.is_array()) continue;
    for (const Json& span : spans) {
      if (!span.is_array() || span.size() != 3) continue;
      const auto start_s = optional_number(span[1]), end_s = optional_number(span[2]);
      if (start_s && end_s) timeline.push_back({whole(thread, "rank"), whole(thread, "thread"), text_of(span[0]), *start_s, *end_s});
    }
  }
  return timeline;
}

SampleView sample_of(const Json& json) {
  SampleView sample;
  sample.arm = text(json, "arm");
  sample.pair = whole(json, "pair"), sample.position = whole(json, "position"), sample.cell = whole(json, "cell");
  sample.control = member(json, "control") == true, sample.started_at = text(json, "started_at");
  const Json& exit = member(json, "exit");
  sample.failure = text(json, "failure");
  if (sample.failure.empty() && !exit.is_null() && exit != 0) sample.failure = "exit " + text_of(exit);
  if (const std::string phase = text(json, "last_phase"); !sample.failure.empty() && !phase.empty())
    sample.failure += " in " + phase;
  if (const Json& metrics = member(json, "metrics"); metrics.is_object())
    for (const auto& [name, value] : metrics.items())
      if (const auto number = optional_number(value)) sample.metrics[name] = *number;
  for (const auto& [name, value] : member(json, "counters").items())
    if (const auto number = optional_number(value)) sample.counters[name] = *number;
  for (const auto& [name, values] : member(json, "series").items()) {
    std::vector<double>& series = sample.series[name];
    if (values.is_array())
      for (const Json& value : values)
        if (const auto number = optional_number(value)) series.push_back(*number);
  }
  sample.resident_before_bytes = number(member(json, "page_cache"), "bytes_resident_before");
  if (const Json& flags = member(json, "flags"); flags.is_array())
    for (const Json& flag : flags) sample.flags.push_back(text_of(flag));
  if (const Json& phases = member(json, "phases"); phases.is_array())
    for (const Json& phase : phases) {
      const auto start_s = number(phase, "start_s"), duration_s = number(phase, "duration_s");
      if (start_s && duration_s)
        sample.phases.push_back({text(phase, "name"), whole(phase, "rank"), *start_s, *duration_s,
                                 number(phase, "parent") ? whole(phase, "parent") : -1});
    }
  sample.timeline = timeline_of(member(json, "timeline"));
  return sample;
}

// By counters where there are some, else of kernels alone.
void add_gpu_phases(const Json& seen, TraceView& trace) {
  const Json& counters = member(seen, "counters");
  trace.why_no_counters = text(counters, "why");
  const Json& counted = member(counters, "phases");
  const Json& phases = counted.is_array() && !counted.empty() ? counted : member(seen, "phases");
  if (!phases.is_array()) return;
  for (const Json& phase : phases) {
    if (text(phase, "name").empty()) continue;
    const auto busy_s = number(phase, "busy_s");
    trace.phases.push_back({text(phase, "name"), number(phase, "device"), number(phase, "launches"), busy_s ? busy_s : number(phase, "kernel_s"),
                            number(phase, "read_bytes"), number(phase, "written_bytes"), number(phase, "bytes_per_s"), number(phase, "of_peak_percent"),
                            number(phase, "divided_percent")});
  }
}

TraceView trace_of(const Json& json) {
  const Json& seen = member(json, "trace");
  TraceView trace;
  trace.arm = text(json, "arm"), trace.cell = whole(json, "cell"), trace.source = text(seen, "source"), trace.why = text(seen, "why");
  if (const Json& flags = member(json, "flags"); flags.is_array())
    for (const Json& flag : flags)
      if (const std::string said = text_of(flag); said.starts_with("trace: ")) trace.flags.push_back(said);
  add_gpu_phases(seen, trace);
  const Json& rows = member(seen, "rows");
  if (!rows.is_array()) return trace;
  for (const Json& row : rows) {
    if (text(row, "name").empty()) continue;
    TraceView::Row& out = trace.rows.emplace_back();
    out.name = text(row, "name");
    const Json& spans = member(row, "spans");
    if (!spans.is_array()) continue;
    for (const Json& span : spans) {
      if (!span.is_array() || span.size() != 4) continue;
      const auto start_s = optional_number(span[1]), end_s = optional_number(span[2]);
      if (start_s && end_s) out.spans.push_back({text_of(span[0]), text_of(span[3]), *start_s, *end_s});
    }
  }
  return trace;
}

std::optional<double> median_of(const std::vector<SampleView>& samples, long cell, const char* arm,
                                const std::string& metric) {
  std::vector<double> values;
  for (const SampleView& sample : samples)
    if (sample.counts() && sample.cell == cell && sample.arm == arm)
      if (const auto found = sample.metrics.find(metric); found != sample.metrics.end())
        values.push_back(found->second);
  if (values.empty()) return std::nullopt;
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

MetricRow metric_of(const std::string& name, const Json& json) {
  MetricRow row;
  row.name = name;
  row.effect_percent = number(json, "effect_percent");
  row.interval_percent = interval(json, "interval_percent");
  row.order_effect_percent = number(json, "order_effect_percent");
  row.order_interval_percent = interval(json, "order_interval_percent");
  row.hodges_lehmann_percent = number(json, "hodges_lehmann_percent");
  row.hodges_lehmann_interval_percent = interval(json, "hodges_lehmann_interval_percent");
  row.mde_percent = number(json, "mde_percent");
  row.p_adjusted = number(json, "p_adjusted");
  row.equivalence_interval_percent = interval(json, "equivalence_interval_percent");
  row.n_pairs = number(json, "n_pairs");
  row.verdict = text(json, "verdict");
  return row;
}

struct Means {
  double sum_s[2] = {0, 0};  // of A and of B
  int count[2] = {0, 0};

  std::optional<double> of(int arm) const { return count[arm] ? std::optional(sum_s[arm] / count[arm]) : std::nullopt; }
};

// The phases of one sample among `wanted`: the metric of that name where there is one, else its recorded spans, as the
// mean over the ranks.
std::map<std::string, double> phases_of(const SampleView& sample, const std::map<std::string, Means>& wanted) {
  std::map<std::string, std::pair<double, std::set<long>>> spans;
  for (const SampleView::Phase& span : sample.phases)
    if (wanted.contains(span.name))
      spans[span.name].first += span.duration_s, spans[span.name].second.insert(span.rank);
  std::map<std::string, double> found;
  for (const auto& [name, span] : spans) found[name] = span.first / static_cast<double>(span.second.size());
  for (const auto& [name, value] : sample.metrics)
    if (wanted.contains(name)) found[name] = value;
  for (const auto& [name, value] : sample.metrics)
    if (name.ends_with("_s") && wanted.contains(name.substr(0, name.size() - 2)))
      found[name.substr(0, name.size() - 2)] = value;
  return found;
}

// One pass over the samples whatever the number of phases: hostile files have many of both.
void add_phases(const Json& waterfall, long index, const ResultView& result, CellView& cell) {
  std::map<std::string, Means> means;
  for (const Json& step : waterfall) means[text(step, "phase")];
  for (const SampleView& sample : result.samples) {
    if (!sample.counts() || sample.cell != index || (sample.arm != "A" && sample.arm != "B")) continue;
    const int arm = sample.arm == "B";
    for (const auto& [name, seconds] : phases_of(sample, means))
      means[name].sum_s[arm] += seconds, ++means[name].count[arm];
  }
  for (const Json& step : waterfall) {
    const Means& of_phase = means[text(step, "phase")];
    cell.phases.push_back(
        {text(step, "phase"), of_phase.of(0), of_phase.of(1), number(step, "delta_s"), interval(step, "interval_s")});
  }
}

std::optional<FloorView> floors_of(const Json& floors, const char* arm) {
  const Json& json = member(floors, arm);
  if (!json.is_object()) return std::nullopt;
  FloorView view;
  view.total_s = number(json, "total_s"), view.ratio = number(json, "total_over_floor");
  view.pack_s = number(json, "pack_s"), view.first_touch_s = number(json, "first_touch_s"), view.rest_ratio = number(json, "rest_over_floor");
  view.bytes_read = number(json, "bytes_read"), view.read_bytes_per_s = number(json, "read_bytes_per_s");
  view.read_floor_s = number(json, "read_floor_s");
  view.quantized_values = number(json, "quantized_values"), view.quantize_values_per_s = number(json, "quantize_values_per_s");
  view.quantize_floor_s = number(json, "quantize_floor_s");
  view.busy_share = number(json, "busy_share"), view.peak_memory_bytes = number(json, "peak_memory_bytes");
  view.held_bytes = number(json, "held_bytes");
  const Json& derived = member(json, "derived");
  if (!derived.is_object()) return view;
  view.whole = fmt::format("{}, {} layers, vocabulary {}", text(derived, "model"), text(derived, "layers"), text(derived, "vocab"));
  view.whole_total_s = number(derived, "total_s"), view.whole_read_floor_s = number(derived, "read_floor_s");
  view.whole_quantize_floor_s = number(derived, "quantize_floor_s");
  return view;
}

CellView cell_of(const Json& json, long index, const ResultView& result) {
  CellView cell;
  for (const char* key : {"name", "label", "settings", "cell"})
    if (cell.name.empty() && !member(json, key).is_number()) cell.name = text(json, key);
  if (cell.name == "{}") cell.name.clear();
  const Json& verdict = member(json, "verdict");
  cell.word = verdict.is_object() ? text(verdict, "word") : verdict.is_null() ? text(json, "word") : text_of(verdict);
  cell.reason = verdict.is_object() ? text(verdict, "reason") : text(json, "reason");
  if (const Json& metrics = member(json, "metrics"); metrics.is_object())
    for (const auto& [name, value] : metrics.items()) {
      MetricRow row = metric_of(name, value);
      row.a = median_of(result.samples, index, "A", name), row.b = median_of(result.samples, index, "B", name);
      cell.metrics.push_back(std::move(row));
    }
  std::stable_partition(cell.metrics.begin(), cell.metrics.end(),
                        [&](const MetricRow& row) { return row.name == result.primary; });
  if (const Json& waterfall = member(json, "waterfall"); waterfall.is_array())
    add_phases(waterfall, index, result, cell);
  cell.residual_s = number(json, "residual_s");
  cell.floors_a = floors_of(member(json, "floors"), "A"), cell.floors_b = floors_of(member(json, "floors"), "B");
  cell.settings = settings_of(cell.name, result.axes);
  cell.pairs = pairs_of(result, index);
  return cell;
}

ResultView view_of(const Json& json) {
  ResultView result;
  const Json &scenario = member(json, "scenario"), &verdict = member(json, "verdict"), &plan = member(json, "plan");
  result.name = text(scenario, "name"), result.question = text(scenario, "question");
  result.word = text(verdict, "word"), result.reason = text(verdict, "reason");
  result.primary = text(plan, "primary").empty() ? text(member(scenario, "plan"), "primary") : text(plan, "primary");
  result.higher_is_better = higher_is_better(scenario, result.primary);
  result.kind = text(member(scenario, "workload"), "kind"), result.tool = text(json, "tool");
  result.exploratory = member(plan, "exploratory") == true;
  result.threshold_percent = number(plan, "threshold_percent"), result.noise_floor_percent = number(plan, "noise_floor_percent");
  result.noise_floor_from = text(plan, "noise_floor_from");
  result.plan = facts_of(plan), result.build = facts_of(member(json, "build")),
  result.environment = facts_of(member(json, "environment")), result.workload = facts_of(member(scenario, "workload"));
  if (!result.tool.empty()) result.build.insert(result.build.begin(), {"tool", result.tool});
  result.knobs = knobs_of(member(json, "knobs"));
  result.arms = arms_of(scenario, result.knobs);
  result.axes = axes_of(scenario);
  auto paths = paths_of(member(json, "samples"), member(member(scenario, "expect"), "differs"));
  result.paths = paths[-1];
  for (const Json& sample : member(json, "samples")) result.samples.push_back(sample_of(sample));
  if (const Json& traces = member(json, "traces"); traces.is_array())
    for (const Json& trace : traces) result.traces.push_back(trace_of(trace));
  std::stable_sort(result.samples.begin(), result.samples.end(),
                   [](const auto& x, const auto& y) { return x.position < y.position; });
  const Json& analysis = member(json, "analysis");
  const Json& cells = analysis.is_array() ? analysis : member(analysis, "cells");
  const auto add = [&](const Json& cell) {
    const auto index = static_cast<long>(result.cells.size());
    result.cells.push_back(cell_of(cell, index, result));
    result.cells.back().gates = gates_of(cell, scenario, result.knobs, paths[index]);
  };
  if (cells.is_array()) std::for_each(cells.begin(), cells.end(), add);
  else if (analysis.is_object()) add(analysis);
  add_crossings(member(json, "crossings"), result);
  if (!scenario.is_null()) result.scenario = scenario.dump(2, ' ', false, Json::error_handler_t::replace);
  return result;
}

}  // namespace

ResultView load_result(const std::filesystem::path& file, bool publish) {
  Json json = read_result(file, "report", publish ? "" : "top_logits");  // the page has no use for them
  try {
    if (publish) strip_private(json);
    ResultView result = view_of(json);
    result.file = file.filename().string();
    if (publish) result.kept_copy = kept_copy(std::move(json));
    return result;
  } catch (const std::exception& error) {
    throw std::runtime_error(refused_result("report", file, error.what()));
  }
}

}  // namespace crossover::report
