#include "bench/history/run_record.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>

#include "bench/judge/verdict.h"
#include "bench/report/read_json.h"
#include "bench/sample.h"
#include "bench/scenario.h"
#include "bench/sha256.h"

namespace crossover {

namespace {

using nlohmann::json;
using report::Json, report::member, report::number;

constexpr int kMostCells = 10000;  // as of a scenario
constexpr std::size_t kIdDigits = 12;

std::string text(const Json& object, const char* key) {
  const Json& value = member(object, key);
  return value.is_string() ? value.get<std::string>() : "";
}

std::string needed_text(const Json& object, const char* key, const char* where) {
  const std::string found = text(object, key);
  if (found.empty()) throw std::runtime_error(fmt::format("it has no text {}/{}", where, key));
  return found;
}

// ln(1 + x/100); absent for a change of -100 % or beyond.
std::optional<double> ln_of(std::optional<double> percent) {
  return percent && *percent > -100 ? std::optional(ln_of_percent(*percent)) : std::nullopt;
}

void copy(const Json& from, const char* key, json& to) {
  if (const Json& value = member(from, key); !value.is_null()) to[key] = json(value);
}

bool measures_crossover(const std::string& kind) { return kind != "external" && kind != "endpoint"; }

// Which builds, prompts and thresholds were taken does not belong here: they may differ between two nights.
std::string what_was_asked(const Json& result) {
  const Json& scenario = member(result, "scenario");
  json asked = json::object();
  for (const char* key : {"name", "workload", "sweep"}) copy(scenario, key, asked);
  for (const char* arm : {"A", "B"}) {
    for (const char* key : {"knobs", "workload"}) copy(member(member(scenario, "arms"), arm), key, asked["arms"][arm]);
    asked["arms"][arm]["other_program"] = !text(member(member(scenario, "arms"), arm), "program").empty();
    if (const Json& knobs = member(member(result, "knobs"), arm); knobs.is_object())
      for (const auto& [name, knob] : knobs.items())
        if (text(knob, "origin") == "env") asked["arms"][arm]["environment"][name] = text(knob, "value");
  }
  for (const char* key : {"pairs", "looks", "primary"}) copy(member(scenario, "plan"), key, asked["plan"]);
  return asked.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string hardware_of(const Json& environment) {
  constexpr double kGib = 1024.0 * 1024 * 1024;
  json hardware = json::object();
  const Json& cpu = member(environment, "cpu");
  for (const char* key : {"model", "allowed_cores", "caches", "cgroup_quota_cores"}) copy(cpu, key, hardware["cpu"]);
  // A kernel keeps a few MiB more or less for itself.
  if (const auto bytes = number(member(environment, "memory"), "total_bytes")) hardware["memory_gib"] = std::round(*bytes / kGib);
  // In a container the host name is drawn anew for each run.
  if (member(member(environment, "virtualisation"), "container").is_null()) copy(environment, "host", hardware);
  if (const Json& gpus = member(environment, "gpus"); gpus.is_array())
    for (const Json& gpu : gpus) hardware["gpus"].push_back(text(gpu, "model"));
  return hardware.dump(-1, ' ', false, json::error_handler_t::replace);
}

void read_build(const Json& build, RunRecord& run) {
  run.version = text(build, "version"), run.commit = text(build, "commit"), run.compiler = text(build, "compiler");
  if (member(build, "dirty") == true && !run.commit.empty()) run.commit += "-dirty";
  if (!measures_crossover(run.kind)) return;
  json flags = json::object();
  for (const char* key : {"compiler", "flags", "build_type", "sanitize"}) copy(build, key, flags);
  run.flags = flags.dump(-1, ' ', false, json::error_handler_t::replace);
}

// Values of ln(metric) by (cell, metric, arm), and the states of the page cache by (cell, arm).
struct Collected {
  std::map<std::tuple<int, std::string, std::string>, std::vector<double>> values_ln;
  std::map<std::pair<int, std::string>, std::set<std::string>> page_cache;

  std::string state(int cell, const std::string& arm) const {
    std::string joined;
    if (const auto found = page_cache.find({cell, arm}); found != page_cache.end())
      for (const std::string& state : found->second) joined += (joined.empty() ? "" : "+") + state;
    return joined;
  }
};

bool worked(const Json& sample) {
  const Json& exit = member(sample, "exit");
  return text(sample, "failure").empty() && (exit.is_null() || exit == 0) && member(sample, "control") != true;
}

void collect_sample(const Json& sample, Collected& into) {
  const std::string arm = text(sample, "arm");
  if (arm != "A" && arm != "B") throw std::runtime_error("a sample's arm is neither A nor B");
  const auto cell = number(sample, "cell").value_or(0);
  if (cell < 0 || cell >= kMostCells || cell != std::floor(cell)) throw std::runtime_error("a sample's cell is no place in a sweep");
  const int at = static_cast<int>(cell);
  if (const Json& metrics = member(sample, "metrics"); metrics.is_object())
    for (const auto& [name, value] : metrics.items())
      if (value.is_number() && std::isfinite(value.template get<double>()) && value.template get<double>() > 0)  // a zero has no logarithm
        into.values_ln[{at, name, arm}].push_back(std::log(value.template get<double>()));
  if (const std::string state = text(member(sample, "page_cache"), "state"); !state.empty()) into.page_cache[{at, arm}].insert(state);
}

Collected collect_samples(const Json& samples, RunRecord& run) {
  Collected collected;
  for (const Json& sample : samples) {
    if (!sample.is_object()) throw std::runtime_error("a sample is no object");
    const std::string started_at = needed_text(sample, "started_at", "/samples");
    if (!utc_seconds(started_at)) throw std::runtime_error("started_at of a sample is no time like 2026-11-21T06:00:00.123Z");
    if (run.started_at.empty() || started_at < run.started_at) run.started_at = started_at;
    if (!worked(sample)) continue;
    collect_sample(sample, collected);
    ++run.samples;
  }
  if (run.samples == 0) throw std::runtime_error("none of its samples worked");
  return collected;
}

// Directions that an external metric states; the names of the others say it.
Scenario stated_directions(const Json& scenario) {
  Scenario directions;
  const auto read = [&](const Json& workload) {
    const Json& metrics = member(workload, "metrics");
    if (!metrics.is_object()) return;
    for (const auto& [name, metric] : metrics.items())
      if (const std::string better = text(metric, "better"); !better.empty()) directions.higher_is_better[name] = better == "higher";
  };
  read(member(scenario, "workload"));
  for (const char* arm : {"A", "B"}) read(member(member(member(scenario, "arms"), arm), "workload"));
  return directions;
}

std::optional<bool> direction(const Scenario& stated, const std::string& metric) {
  try {
    return higher_is_better(stated, metric);
  } catch (const std::invalid_argument&) {
    return std::nullopt;
  }
}

RunPoint mean_point(const std::vector<double>& values_ln) {
  RunPoint point;
  point.n = static_cast<int>(values_ln.size());
  double sum = 0, squares = 0;
  for (const double value : values_ln) sum += value;
  point.value_ln = sum / point.n;
  for (const double value : values_ln) squares += (value - point.value_ln) * (value - point.value_ln);
  if (point.n > 1) point.sd_ln = std::sqrt(squares / (point.n - 1));
  return point;
}

const Json& cells_of(const Json& result) {
  const Json& analysis = member(result, "analysis");
  return analysis.is_object() ? member(analysis, "cells") : analysis;
}

void add_arm_points(const Json& result, const Collected& collected, const std::map<std::string, std::string>& builds, RunRecord& run) {
  const Scenario stated = stated_directions(member(result, "scenario"));
  const Json& cells = cells_of(result);
  for (const auto& [key, values_ln] : collected.values_ln) {
    const auto& [cell, metric, arm] = key;
    const auto higher = direction(stated, metric);
    if (!higher) continue;
    RunPoint point = mean_point(values_ln);
    if (cells.is_array() && static_cast<std::size_t>(cell) < cells.size()) point.cell = text(cells[static_cast<std::size_t>(cell)], "name");
    point.metric = metric, point.arm = arm, point.higher_is_better = *higher;
    point.page_cache = collected.state(cell, arm), point.build = builds.at(arm);
    run.points.push_back(std::move(point));
  }
}

void add_effect_points(const Json& result, const Collected& collected, const std::string& build, RunRecord& run) {
  const Json& cells = cells_of(result);
  if (!cells.is_array()) return;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    const Json& metrics = member(cells[i], "metrics");
    if (!metrics.is_object()) continue;
    const std::string a = collected.state(static_cast<int>(i), "A"), b = collected.state(static_cast<int>(i), "B");
    for (const auto& [name, metric] : metrics.items()) {
      const auto effect_ln = ln_of(number(metric, "effect_percent"));
      if (!effect_ln) continue;
      RunPoint point;
      point.cell = text(cells[i], "name"), point.metric = name, point.arm = "effect", point.build = build;
      point.page_cache = a == b ? a : a + "/" + b;
      point.value_ln = *effect_ln, point.word = text(metric, "verdict");
      const double pairs = number(metric, "n_pairs").value_or(0);
      point.n = pairs > 0 && pairs < 1e6 ? static_cast<int>(pairs) : 0;
      if (const Json& interval = member(metric, "interval_percent"); interval.is_array() && interval.size() == 2) {
        const Json ends{{"low", interval[0]}, {"high", interval[1]}};
        const auto low = ln_of(number(ends, "low")), high = ln_of(number(ends, "high"));
        if (low && high) point.interval_ln = Interval{*low, *high};
      }
      run.points.push_back(std::move(point));
    }
  }
}

// By arm. A dirty tree, another build's binary and a program of somebody else say nothing by which to know them again.
std::map<std::string, std::string> builds_of(const Json& result, const RunRecord& run, const std::string& named) {
  std::map<std::string, std::string> builds;
  for (const char* arm : {"A", "B"}) {
    const bool own = measures_crossover(run.kind) && text(member(member(member(result, "scenario"), "arms"), arm), "program").empty();
    builds[arm] = own && !run.commit.ends_with("-dirty") ? run.commit : own ? "" : named;
    if (own && !named.empty() && !run.commit.empty())
      throw std::invalid_argument(fmt::format("--commit {} was given, but the result says that it measured crossover {}; leave it out",
                                              named, run.commit));
    if (own && run.commit.empty()) builds[arm] = named;
  }
  builds["effect"] = builds["A"] == builds["B"] ? builds["A"] : "";
  return builds;
}

bool is_word(const std::string& text) {
  for (const Word word : {Word::kFaster, Word::kEquivalent, Word::kInconclusive, Word::kSlower, Word::kInvalid})
    if (text == word_text(word)) return true;
  return false;
}

void read_verdict(const Json& result, RunRecord& run) {
  run.word = text(member(result, "verdict"), "word"), run.reason = text(member(result, "verdict"), "reason");
  if (!is_word(run.word)) throw std::runtime_error("its verdict is '" + run.word.substr(0, 40) + "'");
  const Json& plan = member(result, "plan");
  run.plan_hash = needed_text(plan, "hash", "/plan"), run.primary = needed_text(plan, "primary", "/plan");
  const double floor = std::max(0.0, number(plan, "noise_floor_percent").value_or(0));
  const double threshold = number(plan, "threshold_percent").value_or(-1);
  if (threshold < 0) throw std::runtime_error("it has no number /plan/threshold_percent");
  run.tau_ln = ln_of_percent(std::max(threshold, floor));
}

}  // namespace

RunRecord make_run_record(const Json& result, const RecordNames& names) {
  RunRecord run;
  run.scenario = needed_text(member(result, "scenario"), "name", "/scenario");
  run.kind = needed_text(member(member(result, "scenario"), "workload"), "kind", "/scenario/workload");
  run.asked = what_was_asked(result);
  run.hardware = hardware_of(member(result, "environment"));
  run.machine = names.machine.empty() ? sha256_text(run.hardware).substr(0, kIdDigits) : names.machine;
  read_build(member(result, "build"), run);
  read_verdict(result, run);
  const Collected collected = collect_samples(member(result, "samples"), run);
  const auto builds = builds_of(result, run, names.commit);
  add_arm_points(result, collected, builds, run);
  add_effect_points(result, collected, builds.at("effect"), run);
  if (!names.commit.empty()) run.commit = names.commit;
  else if (!measures_crossover(run.kind)) run.commit.clear();
  return run;
}

std::string RunRecord::scenario_hash() const { return sha256_text(asked).substr(0, kIdDigits); }

std::string RunRecord::label() const { return !commit.empty() ? commit : flags.empty() ? "not named" : "version " + version; }

std::string differences(const std::string& base, const std::string& next, int most) {
  const json from = json::parse(base.empty() ? "{}" : base), to = json::parse(next.empty() ? "{}" : next);
  std::string said;
  int count = 0;
  for (const json& step : json::diff(from, to)) {
    const std::string where = step.at("path");
    const json::json_pointer at(where);
    const auto value = [&](const json& in) { return in.contains(at) ? in.at(at).dump().substr(0, 60) : std::string("absent"); };
    if (++count <= most)
      said += fmt::format("{}{} is {} in BASE and {} in NEW", said.empty() ? "" : ", ", where, value(from), value(to));
  }
  if (count > most) said += fmt::format(", and {} more", count - most);
  return printable(said);
}

std::string printable(std::string text) {
  std::replace_if(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }, '?');
  return text;
}

}  // namespace crossover
