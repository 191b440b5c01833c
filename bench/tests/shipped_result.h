// Results of every shipped scenario without running it: samples of a simulated program with the metrics, phases and
// paths of its kind.
#pragma once

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "bench/result.h"
#include "bench/shipped_scenarios.h"
#include "bench/tests/simulation.h"

namespace crossover {

using Shares = std::vector<std::pair<std::string, double>>;

inline const Shares& shares_of(const std::string& group) {
  static const Shares kLoad{{"open", 0.01},    {"read", 0.3},  {"quantize", 0.35}, {"pack", 0.1},
                            {"lm_head", 0.04}, {"wait", 0.18}, {"other", 0.02}};
  static const Shares kPass{{"embed", 0.01},       {"gdn.proj", 0.2},    {"gdn.scan", 0.25}, {"attn.core", 0.1},
                            {"attn.rotate", 0.04}, {"moe.router", 0.02}, {"mlp", 0.28},      {"lm_head", 0.1}};
  return group == "load" ? kLoad : kPass;
}

// Times and phases of one group: a whole of `time_s` on each rank, its parts inside it.
inline void add_group(const std::string& group, double time_s, int ranks, bool keep_timeline, Sample& sample) {
  sample.metrics[group + ".total_s"] = time_s;
  for (const auto& [part, share] : shares_of(group)) sample.metrics[group + "." + part + "_s"] = share * time_s;
  for (int rank = 0; rank < ranks; ++rank) {
    const int whole = static_cast<int>(sample.phases.size());
    sample.phases.push_back({group, rank, 0, time_s, time_s, -1});
    double at_s = 0;
    for (const auto& [part, share] : shares_of(group)) {
      sample.phases.push_back({group + "." + part, rank, at_s, share * time_s, share * time_s, whole});
      if (keep_timeline && group == "load") sample.timeline.push_back({rank, 0, part, at_s, at_s + share * time_s});
      at_s += share * time_s;
    }
  }
}

// B gains half in the first cell, less from cell to cell and loses in the last.
inline double planted_effect_ln(int cell, std::size_t cells) {
  return cells < 2 ? -0.3 : -0.6 + 0.9 * cell / (static_cast<double>(cells) - 1);
}

inline void fill_engine_sample(const SampleRequest& request, const std::string& primary, double time_s,
                               Sample& sample) {
  const auto workload = nlohmann::json::parse(request.workload);
  const int ranks = workload.value("ranks", 1);
  const std::string kind = workload["kind"];
  const auto of = [&](const char* group, double other_s) { return primary.starts_with(group) ? time_s : other_s; };
  const double load_s = of("load.", 0.2), prefill_s = of("prefill.", 0.15), decode_s = of("decode.", 0.5);
  sample.metrics = {{"process.start_s", 0.004}, {"memory.peak_bytes", 1.4e9}};
  add_group("load", load_s, ranks, request.pair == 0, sample);
  sample.metrics["load.busy_share"] = 0.6;
  sample.counters = {{"bytes.files", 4e9}, {"bytes.read", 4e9}, {"bytes.held", 1.3e9}};
  if (kind == "quantize" || kind == "cold_load") sample.metrics["quantize.weights_per_s"] = 4e8 / load_s;
  if (kind == "quantize") return;
  add_group("prefill", prefill_s, ranks, false, sample);
  sample.metrics["prefill.tokens_per_s"] = 512 / prefill_s, sample.metrics["ttft_s"] = prefill_s;
  sample.counters["prefill.bytes"] = 5e8, sample.counters["prefill.flops"] = 4e9;
  if (kind == "prefill") return;
  add_group("decode", decode_s, ranks, false, sample);
  sample.metrics["decode.tokens_per_s"] = 64 / decode_s;
  sample.counters["decode.bytes"] = 5e9, sample.counters["decode.flops"] = 4e9;
  for (int token = 0; token < 64; ++token)
    sample.series["decode.token_s"].push_back(decode_s / 64 * (0.9 + 0.003 * token));
}

// What the scenario's own checks want to see.
inline void fill_expectations(const Scenario& scenario, const SampleRequest& request, Sample& sample) {
  const auto workload = nlohmann::json::parse(request.workload);
  for (const std::string& what : scenario.expect.differs) {
    const std::string name = what.substr(what.find('.') + 1);
    if (what.starts_with("path.")) sample.path[name] = request.arm == 'A' ? "the-one-way" : "the-other-way";
    if (what.starts_with("counters.")) sample.counters[name] = request.arm == 'A' ? 1 : 2;
  }
  for (const auto& [key, value] : scenario.expect.path) {
    const bool of_one = key.starts_with("A.") || key.starts_with("B.");
    if (!of_one || key.front() == request.arm) sample.path[of_one ? key.substr(2) : key] = value;
  }
  for (const auto& [name, value] : request.knobs) sample.knobs[name] = {value, "scenario"};
  for (const std::string& control : scenario.expect.controls)
    sample.metrics[control] = 0.01 * (1 + 1e-3 * ((request.position * 7) % 5));
  const std::string state = workload.value("page_cache", "as-is");
  if (state != "as-is") sample.page_cache = PageCacheState{state, state == "warm" ? 1'000'000 : 0, 1'000'000};
}

// The file that a run of the scenario would leave; only its times are made up.
inline nlohmann::json shipped_result(const ShippedScenario& shipped) {
  const Scenario scenario = parse_scenario(shipped.text, shipped.name, {{"/expect/outputs=identical"}, {}});
  SimulatedProgram program;
  program.base_s = 0.8, program.noise_ln = 0.02;
  program.alter = [&](const SampleRequest& taken, Sample& sample) {
    SampleRequest request = taken;
    const ArmSettings& arm = scenario.cells[static_cast<std::size_t>(request.cell)].arm(request.arm);
    request.workload = arm.workload, request.knobs = arm.knobs;
    const double time_s = sample.metrics.at("wall_s") *
                          std::exp(request.arm == 'B' ? planted_effect_ln(request.cell, scenario.cells.size()) : 0);
    if (scenario.kind == "external")
      sample.metrics = {{"wall_s", time_s}};
    else if (scenario.kind == "endpoint")
      sample.metrics = {{"ttft_s", time_s}, {"decode.tokens_per_s", 100}};
    else
      fill_engine_sample(request, scenario.primary, time_s, sample);
    fill_expectations(scenario, request, sample);
    sample.started_at = "2026-11-21T06:00:00.000Z";
    if (request.position == 3) sample.flags = {"oversubscribed"};
  };
  RunOutcome outcome;
  outcome.plan = make_plan(scenario);
  outcome.samples = simulate(outcome.plan, program);
  outcome.verdict = judge(scenario, outcome.samples);
  outcome.ceilings = Ceilings{.isa = "avx2",
                              .threads = 2,
                              .read_buffer_bytes = 1 << 28,
                              .read_all_bytes_per_s = 2e10,
                              .fma_all_flop_per_s = 1e11,
                              .int8_all_op_per_s = 4e11};
  return result_to_json(
      scenario, outcome,
      R"({"host":"build-box-7","cpu":{"model":"Some CPU with a name of usual length @ 2.60GHz","allowed_cores":2}})",
      {});
}

}  // namespace crossover
