#include "bench/report/load_parts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

namespace crossover::report {

bool higher_is_better(const Json& scenario, const std::string& metric) {
  const Json& workload = member(scenario, "workload");
  const std::string stated = text(member(member(workload, "metrics"), metric.c_str()), "better");
  return stated.empty() ? metric.ends_with("_per_s") : stated == "higher";
}

std::vector<KnobRow> knobs_of(const Json& knobs) {
  std::map<std::string, KnobRow> rows;
  for (const char* arm : {"A", "B"}) {
    const Json& values = member(knobs, arm);
    if (!values.is_object()) continue;
    for (const auto& [name, knob] : values.items()) {
      KnobRow& row = rows[name];
      row.name = name;
      (*arm == 'A' ? row.a : row.b) = knob.is_object() ? text(knob, "value") : text_of(knob);
      (*arm == 'A' ? row.a_origin : row.b_origin) = text(knob, "origin");
    }
  }
  std::vector<KnobRow> list;
  for (auto& [name, row] : rows) list.push_back(std::move(row));
  return list;
}

namespace {

using Seen = std::map<std::string, std::map<std::string, std::map<std::string, int>>>;  // name, arm, value

constexpr std::size_t kMostValues = 6;  // of one name in one arm

std::vector<KnobRow> rows_of(const Seen& seen) {
  std::vector<KnobRow> rows;
  for (const auto& [name, arms] : seen) {
    KnobRow row{name, "", "", "", ""};
    for (const auto& [arm, values] : arms) {
      std::string& cell = arm == "B" ? row.b : row.a;
      std::size_t shown = 0;
      for (const auto& [value, count] : values) {
        if (++shown > kMostValues) break;
        cell += (cell.empty() ? "" : ", ") + value + (values.size() > 1 ? fmt::format(" ({}x)", count) : "");
      }
      if (shown > kMostValues) cell += fmt::format(" and {} more", values.size() - kMostValues);
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace

std::map<long, std::vector<KnobRow>> paths_of(const Json& samples, const Json& differs) {
  std::vector<std::string> counters;  // without their group
  if (differs.is_array())
    for (const Json& item : differs)
      if (const std::string what = text_of(item); what.starts_with("counters.")) counters.push_back(what.substr(9));
  std::map<long, Seen> seen;
  for (const Json& sample : samples) {
    if (member(sample, "control") == true) continue;
    const std::string arm = text(sample, "arm"), state = text(member(sample, "page_cache"), "state");
    for (Seen* of : {&seen[-1], &seen[whole(sample, "cell")]}) {
      if (const Json& path = member(sample, "path"); path.is_object())
        for (const auto& [name, value] : path.items()) ++(*of)[name][arm][text_of(value)];
      if (!state.empty()) ++(*of)["page cache before"][arm][state];
      for (const std::string& counter : counters)
        if (const auto value = number(member(sample, "counters"), counter.c_str()))
          ++(*of)["counters." + counter][arm][fmt::format("{:.12g}", *value)];
    }
  }
  std::map<long, std::vector<KnobRow>> rows;
  for (const auto& [cell, of_cell] : seen) rows[cell] = rows_of(of_cell);
  return rows;
}

namespace {

// "knobs.X" and "workload.X" of an arm as "X"; nested workload fields as "model.layers".
std::map<std::string, std::string> settings_of_arm(const Json& arm) {
  std::map<std::string, std::string> settings;
  for (const char* part : {"knobs", "workload"}) {
    std::vector<Fact> facts;
    flatten(member(arm, part), "", facts);
    for (Fact& fact : facts) settings[fact.name] = fact.value;
  }
  if (const std::string program = text(arm, "program"); !program.empty()) settings["program"] = program;
  return settings;
}

std::string joined(const Json& values) {
  std::string line;
  if (values.is_array())
    for (const Json& value : values) line += (line.empty() ? "" : ", ") + text_of(value);
  return line;
}

std::string last_part(const std::string& pointer) { return pointer.substr(pointer.rfind('/') + 1); }

}  // namespace

std::vector<KnobRow> arms_of(const Json& scenario, const std::vector<KnobRow>& resolved) {
  const Json &arms = member(scenario, "arms"), &workload = member(scenario, "workload"), &sweep = member(scenario, "sweep");
  auto a = settings_of_arm(member(arms, "A")), b = settings_of_arm(member(arms, "B"));
  for (const auto& [pointer, values] : sweep.items()) {
    const std::string swept = "swept: " + joined(values);
    if (pointer.starts_with("/arms/A/") || pointer.starts_with("/arms/*/")) a[last_part(pointer)] = swept;
    if (pointer.starts_with("/arms/B/") || pointer.starts_with("/arms/*/")) b[last_part(pointer)] = swept;
  }
  std::vector<Fact> shared;
  flatten(workload, "", shared);
  std::map<std::string, KnobRow> rows;
  for (const auto* arm : {&a, &b})
    for (const auto& [name, value] : *arm) rows[name].name = name;
  const auto value_in = [&](const std::map<std::string, std::string>& own, const std::string& name, bool is_a) {
    if (const auto found = own.find(name); found != own.end()) return found->second;
    for (const KnobRow& knob : resolved)
      if (knob.name == name) return is_a ? knob.a : knob.b;
    for (const Fact& fact : shared)
      if (fact.name == name) return fact.value;
    return std::string(name == "program" ? "this build" : "");
  };
  std::vector<KnobRow> list;
  for (auto& [name, row] : rows) {
    row.a = value_in(a, name, true), row.b = value_in(b, name, false);
    list.push_back(row);
  }
  return list;
}

std::vector<Axis> axes_of(const Json& scenario) {
  std::vector<Axis> axes;
  for (const auto& [pointer, values] : member(scenario, "sweep").items()) {
    if (!values.is_array()) continue;
    Axis axis{last_part(pointer), {}, pointer.starts_with("/arms/A/") ? "A" : pointer.starts_with("/arms/B/") ? "B" : "AB"};
    for (const Json& value : values) axis.values.push_back(text_of(value));
    axes.push_back(std::move(axis));
  }
  return axes;
}

std::vector<Fact> settings_of(const std::string& cell_name, const std::vector<Axis>& axes) {
  std::vector<Fact> settings;
  for (const Axis& axis : axes) {
    const std::string padded = " " + cell_name + " ";
    const auto found = std::find_if(axis.values.begin(), axis.values.end(), [&](const std::string& value) {
      return padded.find(" " + axis.name + "=" + value + " ") != std::string::npos;
    });
    if (found == axis.values.end()) return {};
    settings.push_back({axis.name, *found});
  }
  return settings;
}

std::vector<PairView> pairs_of(const ResultView& result, long cell) {
  std::map<long, std::pair<std::size_t, std::size_t>> halves;  // by pair; index + 1, 0 = not there
  for (std::size_t i = 0; i < result.samples.size(); ++i) {
    const SampleView& sample = result.samples[i];
    if (sample.cell != cell || !sample.counts() || !sample.metrics.contains(result.primary)) continue;
    auto& both = halves[sample.pair];
    if (sample.arm == "A") both.first = i + 1;
    if (sample.arm == "B") both.second = i + 1;
  }
  std::vector<PairView> pairs;
  for (const auto& [pair, both] : halves) {
    if (!both.first || !both.second) continue;
    PairView view{pair, both.first < both.second, both.first - 1, both.second - 1, std::nullopt};
    const double a = result.samples[view.a].metrics.at(result.primary), b = result.samples[view.b].metrics.at(result.primary);
    const double ratio = result.higher_is_better ? a / b : b / a;
    if (a > 0 && b > 0 && std::isfinite(ratio)) view.difference_percent = 100 * (ratio - 1);
    pairs.push_back(view);
  }
  std::sort(pairs.begin(), pairs.end(), [](const PairView& x, const PairView& y) { return std::min(x.a, x.b) < std::min(y.a, y.b); });
  return pairs;
}

void add_crossings(const Json& curves, ResultView& result) {
  if (!curves.is_array()) return;
  for (const Json& curve : curves) {
    if (const std::string sentence = text(curve, "sentence"); !sentence.empty()) result.crossing_sentences.push_back(sentence);
    if (const Json& places = member(curve, "crossings"); places.is_array())
      for (const Json& place : places)
        if (const auto at = number(place, "at")) result.crossings.push_back({*at, number(place, "low"), number(place, "high")});
  }
}

}  // namespace crossover::report
