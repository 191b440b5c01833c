// Formats of other benchmark programs: Google Benchmark's JSON and llama-bench's rows.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "bench/export/export_formats.h"
#include "bench/report/words.h"

namespace crossover {

namespace {

using nlohmann::ordered_json;
using report::CellView;
using report::ResultView;
using report::SampleView;

std::string fact(const std::vector<report::Fact>& facts, const std::string& name) {
  const auto found = std::find_if(facts.begin(), facts.end(), [&](const report::Fact& one) { return one.name == name; });
  return found == facts.end() ? "" : found->value;
}

std::vector<const SampleView*> samples_of(const ResultView& result, std::size_t cell, const std::string& arm) {
  std::vector<const SampleView*> samples;
  for (const SampleView& sample : result.samples)
    if (sample.counts() && sample.arm == arm && sample.cell == static_cast<long>(cell)) samples.push_back(&sample);
  return samples;
}

// Nanoseconds of a time, or of one unit of a rate; absent for what is neither.
std::optional<double> nanoseconds(const std::string& metric, double value) {
  if (!(value > 0)) return std::nullopt;
  if (metric.ends_with("_per_s")) return 1e9 / value;
  return metric.ends_with("_s") ? std::optional(value * 1e9) : std::nullopt;
}

void add_benchmarks(const ResultView& result, std::size_t cell, const std::string& metric, ordered_json& list) {
  for (const char* arm : {"A", "B"}) {
    const std::string name =
        result.name + (result.cells[cell].name.empty() ? "" : "/" + result.cells[cell].name) + "/" + metric + "/arm:" + arm;
    const auto samples = samples_of(result, cell, arm);
    int index = 0;
    for (const SampleView* sample : samples) {
      const auto value = sample->metrics.find(metric);
      const auto time_ns = value == sample->metrics.end() ? std::nullopt : nanoseconds(metric, value->second);
      if (!time_ns) continue;
      list.push_back({{"name", name},
                      {"run_name", name},
                      {"run_type", "iteration"},
                      {"repetitions", samples.size()},
                      {"repetition_index", index++},
                      {"threads", 1},
                      {"iterations", 1},
                      {"real_time", *time_ns},
                      {"cpu_time", *time_ns},
                      {"time_unit", "ns"}});
    }
  }
}

struct Spread {
  double mean = 0, deviation = 0;
};

Spread spread(const std::vector<double>& values) {
  Spread out;
  for (const double value : values) out.mean += value / static_cast<double>(values.size());
  for (const double value : values) out.deviation += (value - out.mean) * (value - out.mean);
  out.deviation = values.size() > 1 ? std::sqrt(out.deviation / static_cast<double>(values.size() - 1)) : 0;
  return out;
}

std::string setting(const ResultView& result, const CellView& cell, const std::string& arm, const std::string& name) {
  for (std::size_t i = 0; i < cell.settings.size() && i < result.axes.size(); ++i)
    if (cell.settings[i].name == name && result.axes[i].arms.find(arm) != std::string::npos) return cell.settings[i].value;
  for (const report::KnobRow& row : result.arms)
    if (row.name == name && !(arm == "A" ? row.a : row.b).starts_with("swept")) return arm == "A" ? row.a : row.b;
  return fact(result.workload, name);
}

long whole(const std::string& text) { return text.empty() ? 0 : std::strtol(text.c_str(), nullptr, 10); }

ordered_json llama_row(const ResultView& result, std::size_t index, const std::string& arm, bool prompt,
                       const std::vector<double>& times_ns, const std::vector<double>& rates) {
  const CellView& cell = result.cells[index];
  const auto text = [&](const char* name) { return setting(result, cell, arm, name); };
  const Spread time = spread(times_ns), rate = spread(rates);
  const std::string model = text("model.path").empty() ? text("model.synth") : text("model.path");
  std::vector<long long> samples_ns;
  for (const double value : times_ns) samples_ns.push_back(std::llround(std::min(value, 9e18)));
  return {{"build_commit", fact(result.build, "commit")},
          {"build_number", 0},
          {"cpu_info", fact(result.environment, "cpu.model")},
          {"gpu_info", fact(result.environment, "gpu.model")},
          {"backends", text("backend")},
          {"model_filename", model},
          {"model_type", model + (text("weights").empty() ? "" : " " + text("weights"))},
          {"n_batch", whole(text("chunk"))},
          {"n_ubatch", whole(text("chunk"))},
          {"n_threads", whole(text("threads"))},
          {"type_k", text("kv_k")},
          {"type_v", text("kv_v")},
          {"n_prompt", prompt ? whole(text("prompt_tokens")) : 0},
          {"n_gen", prompt ? 0 : whole(text("generate_tokens"))},
          {"n_depth", prompt ? whole(text("depth_tokens")) : whole(text("depth_tokens")) + whole(text("prompt_tokens"))},
          {"test_time", result.samples.empty() ? "" : result.samples.front().started_at},
          {"avg_ns", std::llround(std::min(time.mean, 9e18))},
          {"stddev_ns", std::llround(std::min(time.deviation, 9e18))},
          {"avg_ts", rate.mean},
          {"stddev_ts", rate.deviation},
          {"samples_ns", samples_ns},
          {"samples_ts", rates},
          {"crossover_scenario", result.name},
          {"crossover_cell", cell.name},
          {"crossover_arm", arm}};
}

}  // namespace

std::string export_gbench(const Results& results) {
  ordered_json list = ordered_json::array();
  for (const ResultView& result : results)
    for (std::size_t cell = 0; cell < result.cells.size(); ++cell)
      for (const report::MetricRow& metric : result.cells[cell].metrics)
        if (metric.name == result.primary || !report::is_part(metric.name)) add_benchmarks(result, cell, metric.name, list);
  ordered_json context{{"executable", "crossover"},
                       {"library_build_type", "release"},
                       {"caches", ordered_json::array()},
                       {"load_avg", ordered_json::array()}};
  if (!results.empty()) {
    const ResultView& first = results.front();
    context["date"] = first.samples.empty() ? "" : first.samples.front().started_at;
    context["host_name"] = fact(first.environment, "host");
    context["num_cpus"] = whole(fact(first.environment, "cpu.allowed_cores"));
    context["mhz_per_cpu"] = 0;
    context["cpu_scaling_enabled"] = false;
  }
  const ordered_json out{{"context", context}, {"benchmarks", list}};
  return out.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

std::string export_llama_bench(const Results& results) {
  ordered_json rows = ordered_json::array();
  for (const ResultView& result : results)
    for (std::size_t cell = 0; cell < result.cells.size(); ++cell)
      for (const char* arm : {"A", "B"})
        for (const char* group : {"prefill", "decode"}) {
          std::vector<double> times_ns, rates;
          for (const SampleView* sample : samples_of(result, cell, arm)) {
            const auto time = sample->metrics.find(std::string(group) + ".total_s"),
                       rate = sample->metrics.find(std::string(group) + ".tokens_per_s");
            if (time == sample->metrics.end() || rate == sample->metrics.end()) continue;
            times_ns.push_back(time->second * 1e9), rates.push_back(rate->second);
          }
          if (!rates.empty()) rows.push_back(llama_row(result, cell, arm, *group == 'p', times_ns, rates));
        }
  if (rows.empty())
    throw std::runtime_error(
        "--export llama-bench needs prefill.tokens_per_s or decode.tokens_per_s and no result has them; use --export csv");
  return rows.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace crossover
