#include "bench/judge/gates.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "bench/machine/sample_conditions.h"

namespace crossover {

namespace {

constexpr double kClockSpread = 0.05;  // over a cell: beyond it the samples did not run on one machine
constexpr double kClockShift = 0.01;   // between the arms
constexpr double kUnexplained = 0.02;  // share of the primary metric in no phase

// The values of "path.NAME", "counters.NAME" or "knobs.NAME" that an arm's samples had.
std::set<std::string> values_of(const std::string& what, char arm, const CellSamples& cell) {
  std::set<std::string> values;
  const std::string name = what.substr(what.find('.') + 1);
  for (const Sample* sample : cell.good) {
    if (sample->arm != arm) continue;
    if (what.starts_with("path.")) {
      if (const auto it = sample->path.find(name); it != sample->path.end()) values.insert(it->second);
    } else if (what.starts_with("counters.")) {
      if (const auto it = sample->counters.find(name); it != sample->counters.end()) values.insert(fmt::format("{}", it->second));
    } else if (const auto it = sample->knobs.find(name); it != sample->knobs.end()) {
      values.insert(it->second.value);
    }
  }
  return values;
}

std::map<std::string, double> counters_of_the_program(const Sample& sample) {
  std::map<std::string, double> counters = sample.counters;
  std::erase_if(counters, [](const auto& entry) { return varies_by_itself(entry.first); });
  return counters;
}

std::string wrong_path(const Expectations& expect, const CellSamples& cell) {
  for (const auto& [key, wanted] : expect.path) {
    const bool of_one_arm = key.starts_with("A.") || key.starts_with("B.");
    const std::string name = of_one_arm ? key.substr(2) : key;
    for (const Sample* sample : cell.good) {
      if (of_one_arm && sample->arm != key[0]) continue;
      const auto ran = sample->path.find(name);
      if (ran == sample->path.end())
        return fmt::format("path '{}' should be {} and arm {} reports no such path; name one of those reported in expect.path: {}", name, wanted,
                           sample->arm, fmt::join(sample->path, ", "));
      if (ran->second != wanted)
        return fmt::format("path '{}' should be {} and arm {} took {}; see why it fell back", name, wanted, sample->arm, ran->second);
    }
  }
  return "";
}

std::string not_different(const Expectations& expect, const CellSamples& cell) {
  for (const std::string& what : expect.differs) {
    if (what.starts_with("counters.") && varies_by_itself(what.substr(9)))
      return fmt::format("{} should differ between the arms, but it differs between any two processes and proves nothing; name a path or a "
                         "counter of the program in expect.differs",
                         what);
    const auto a = values_of(what, 'A', cell), b = values_of(what, 'B', cell);
    if (a.empty() || b.empty())
      return fmt::format("{} should differ between the arms and arm {} reports none; name a path or counter that the program reports",
                         what, a.empty() ? 'A' : 'B');
    for (const std::string& value : a)
      if (b.contains(value))
        return fmt::format("{} should differ between the arms and is {} in both, so the knob did not take effect; see whether this build and "
                           "this workload can go the other way",
                           what, value);
  }
  return "";
}

std::string moved_control(const std::vector<ControlAnalysis>& controls) {
  for (const ControlAnalysis& control : controls) {
    if (!control.measured) return fmt::format("control {} was not measured in both arms; name one of the metrics", control.metric);
    if (control.moved)
      return fmt::format("control {}, which the question does not touch, moved by {}; look for a disturbance or a side effect", control.metric,
                         control.shift ? fmt::format("{:+.2f} %", percent(*control.shift)) : fmt::format("{:+.3g} s", control.shift_s.value_or(0)));
  }
  return "";
}

std::string unequal_failures(const CellAnalysis& cell) {
  if (cell.failed_a == cell.failed_b) return "";
  return fmt::format("{} samples of A failed and {} of B, so what is left is not a fair sample; see the failures in the journal",
                     cell.failed_a, cell.failed_b);
}

GateResult gate(const char* name, bool asked, std::string trouble) {
  return {name, !trouble.empty() ? "fail" : asked ? "pass" : "not asked", std::move(trouble)};
}

bool looks_inert(const Cell& cell, const CellSamples& samples) {
  if (cell.a.knobs == cell.b.knobs) return false;
  bool seen = false;
  for (const SamplePair& pair : samples.pairs) {
    const auto a = counters_of_the_program(*pair.a), b = counters_of_the_program(*pair.b);
    if (pair.a->path != pair.b->path || a != b) return false;
    seen = seen || !pair.a->path.empty() || !a.empty();
  }
  return seen;
}

// "interference in 3 of 16 samples (sample 4: other programs computed 0.3 s beside it)"
void add_sample_flags(const CellSamples& samples, std::vector<std::string>& flags) {
  std::map<std::string, std::pair<std::set<int>, std::string>> seen;  // by kind: positions, the first one's words
  for (const Sample* sample : samples.good)
    for (const std::string& flag : sample->flags) {
      if (flag == "first") continue;
      const std::size_t colon = flag.find(": ");
      auto& [positions, words] = seen[flag.substr(0, colon)];
      if (positions.empty() && colon != std::string::npos) words = fmt::format(" (sample {}: {})", sample->position, flag.substr(colon + 2));
      positions.insert(sample->position);
    }
  for (const auto& [kind, what] : seen)
    flags.push_back(fmt::format("{} in {} of {} samples{}", kind, what.first.size(), samples.good.size(), what.second));
}

void add_clock_flags(const CellSamples& samples, std::vector<std::string>& flags) {
  std::vector<double> mhz;
  for (const Sample* sample : samples.good)
    if (const auto clock = sample_mhz(*sample)) mhz.push_back(*clock);
  if (mhz.size() < 2 || mhz.size() != samples.good.size()) return;
  const auto [low, high] = std::minmax_element(mhz.begin(), mhz.end());
  if (*high > *low * (1 + kClockSpread)) flags.push_back(fmt::format("clocks: samples ran at {:.0f} to {:.0f} MHz; fix the clock, or cool down longer", *low, *high));
  std::vector<PairDifference> pairs;
  for (const SamplePair& pair : samples.pairs) pairs.push_back({std::log(*sample_mhz(*pair.b) / *sample_mhz(*pair.a)), pair.a_first});
  if (pairs.empty()) return;
  const CrossoverEstimate shift = crossover_t(pairs);
  if (!shift.interval || std::abs(shift.effect) < kClockShift || (shift.interval->low < 0 && shift.interval->high > 0)) return;
  flags.push_back(fmt::format("clocks: B ran at a clock {:+.2f} % from that of A ({:+.2f} to {:+.2f}); part of the effect may be the clock",
                              percent(shift.effect), percent(shift.interval->low), percent(shift.interval->high)));
}

// Seconds of a program that did not run that long, even with all its cores: milliseconds under a wrong name, most likely.
void add_wrong_units(const CellSamples& samples, std::vector<std::string>& flags) {
  std::set<std::string> seen;
  for (const Sample* sample : samples.good) {
    const auto wall_s = sample->counters.find("process.wall_s");
    if (wall_s == sample->counters.end() || sample->cpus.empty()) continue;
    const double most_s = wall_s->second * static_cast<double>(sample->cpus.size());
    for (const auto& [name, value] : sample->metrics)
      if (name.ends_with("_s") && !name.ends_with("_per_s") && value > 2 * most_s && seen.insert(name).second)
        flags.push_back(fmt::format("unit?: {} is {:.4g} s in sample {}, whose process lived {:.4g} s", name, value, sample->position, wall_s->second));
  }
}

void add_unexplained(const Scenario& scenario, const CellSamples& samples, std::vector<std::string>& flags) {
  if (!scenario.primary.ends_with(".total_s")) return;
  const std::string prefix = scenario.primary.substr(0, scenario.primary.size() - std::string("total_s").size());
  double total_s = 0, other_s = 0;
  for (const Sample* sample : samples.good) {
    const auto total = sample->metrics.find(scenario.primary), other = sample->metrics.find(prefix + "other_s");
    if (total != sample->metrics.end() && other != sample->metrics.end()) total_s += total->second, other_s += other->second;
  }
  if (other_s > kUnexplained * total_s) flags.push_back(fmt::format("unexplained: {:.1f} % of {} is in no phase", 100 * other_s / total_s, scenario.primary));
}

}  // namespace

CellSamples collect_cell(const std::vector<Sample>& samples, int cell) {
  CellSamples out;
  std::map<int, std::pair<const Sample*, const Sample*>> pairs;
  for (const Sample& sample : samples) {
    if (sample.cell != cell) continue;
    if (sample.control) {
      if (sample.ok()) out.control = &sample;
      continue;
    }
    if (!sample.ok()) {
      ++(sample.arm == 'A' ? out.failed_a : out.failed_b);
      continue;
    }
    out.good.push_back(&sample);
    (sample.arm == 'A' ? pairs[sample.pair].first : pairs[sample.pair].second) = &sample;
    if (sample.arm == 'A' && sample.pair == 0) out.first_a = &sample;
  }
  for (const auto& [index, pair] : pairs)
    if (pair.first && pair.second) out.pairs.push_back({pair.first, pair.second, pair.first->position < pair.second->position});
  return out;
}

std::vector<GateResult> check_gates(const Scenario& scenario, const Cell& cell, const CellSamples& samples, const CellAnalysis& analysis) {
  const Expectations& expect = scenario.expect;
  return {gate("failures", true, unequal_failures(analysis)),
          {"outputs", analysis.outputs.trouble.empty() ? analysis.outputs.gate : "fail", analysis.outputs.trouble},
          gate("differs", !expect.differs.empty(), not_different(expect, samples)),
          gate("path", !expect.path.empty(), wrong_path(expect, samples)),
          page_cache_gate(cell, samples),
          conditions_gate(cell, samples),
          reuse_gate(samples),
          limits_gate(scenario, samples),
          boundaries_gate(samples),
          capacity_gate(cell, samples),
          gate("controls", !expect.controls.empty(), moved_control(analysis.controls))};
}

std::vector<std::string> cell_flags(const Scenario& scenario, const Cell& cell, const CellSamples& samples) {
  std::vector<std::string> flags;
  if (looks_inert(cell, samples)) flags.push_back("inert?");
  add_sample_flags(samples, flags);
  add_clock_flags(samples, flags);
  add_unexplained(scenario, samples, flags);
  add_wrong_units(samples, flags);
  return flags;
}

std::optional<double> sample_mhz(const Sample& sample) {
  const auto cycles = sample.counters.find("perf.cycles"), task_s = sample.counters.find("perf.task_clock_s");
  if (cycles != sample.counters.end() && task_s != sample.counters.end() && cycles->second > 0 && task_s->second > 0)
    return cycles->second / task_s->second * 1e-6;
  const auto clocks = nlohmann::json::parse(sample.clocks, nullptr, /*allow_exceptions=*/false);
  if (!clocks.is_object() || !clocks.contains("mhz") || !clocks["mhz"].is_array()) return std::nullopt;
  std::optional<double> fastest;
  for (const auto& mhz : clocks["mhz"])
    if (mhz.is_number() && mhz.get<double>() > fastest.value_or(0)) fastest = mhz.get<double>();
  return fastest;
}

}  // namespace crossover
