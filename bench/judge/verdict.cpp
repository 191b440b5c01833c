#include "bench/judge/verdict.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "bench/judge/gates.h"
#include "bench/judge/looks.h"
#include "bench/judge/sweep_crossings.h"

namespace crossover {

namespace {

constexpr double kAlpha = 0.05;
// A control that moved voids the run. At 5 % noise alone would void one in twenty wherever it is larger than the threshold; false
// INVALIDs are to stay below 2 % (reports/calibration.md).
constexpr double kControlAlpha = 0.01;
constexpr int kMostPairs = 1000;  // that a remedy speaks of

std::optional<double> value_of(const Sample& sample, const std::string& metric) {
  const auto it = sample.metrics.find(metric);
  if (it == sample.metrics.end()) return std::nullopt;
  return it->second;
}

bool has_direction(const Scenario& scenario, const std::string& metric) {
  return scenario.higher_is_better.contains(metric) || metric.ends_with("_s") || metric.ends_with("_bytes");
}

// What the whole run has in common.
struct Rules {
  const Scenario& scenario;
  const NoiseFloors& floors;
  double look_level;

  const CellNoise* noise(std::size_t cell) const { return cell < floors.size() && !floors[cell].from.empty() ? &floors[cell] : nullptr; }
};

MetricAnalysis analyse_metric(const Rules& rules, const CellSamples& cell, const CellNoise* noise, const std::string& metric) {
  const std::vector<PairDifference> pairs = pair_differences(rules.scenario, cell, metric);
  MetricAnalysis out;
  out.pairs = static_cast<int>(pairs.size());
  out.tau = ln_of_percent(rules.scenario.threshold_percent);
  if (pairs.empty()) return out;
  if (const NoiseFloor* floor = noise ? noise->find(metric) : nullptr) {
    out.noise = *floor;
    out.noise_floor = floor->at(out.pairs);
    out.tau = std::max(out.tau, *out.noise_floor);
  }
  const double confidence = 1 - rules.look_level;
  std::vector<double> d;
  for (const PairDifference& pair : pairs) d.push_back(pair.d);
  out.estimate = crossover_t(pairs, confidence);
  out.robust = hodges_lehmann(d, confidence);
  if (out.estimate->standard_error)
    out.mde = minimum_detectable_effect(*out.estimate->standard_error, out.pairs - 2, out.tau, rules.look_level);
  return out;
}

// What the numbers alone say. `p` is the adjusted one.
std::optional<Word> word_of(const MetricAnalysis& metric, double p) {
  if (!metric.estimate || !metric.estimate->interval) return std::nullopt;
  const CrossoverEstimate& e = *metric.estimate;
  const double tau = metric.tau;
  if (p < kAlpha && std::abs(e.effect) > tau) return e.effect < 0 ? Word::kFaster : Word::kSlower;
  if (e.equivalence_interval->low > -tau && e.equivalence_interval->high < tau) return Word::kEquivalent;
  return Word::kInconclusive;
}

// First for the looks, then for what is tested beside it: each p-value so stays one, whatever the look at which the run ends.
std::vector<double> adjusted(const Rules& rules, std::vector<double> p) {
  for (double& value : p) value = chance_over_looks(value, rules.scenario.looks);
  return holm(p);
}

void adjust(const Rules& rules, std::vector<MetricAnalysis*> metrics) {
  std::erase_if(metrics, [](const MetricAnalysis* m) { return !m->estimate || !m->estimate->p_value; });
  std::vector<double> p;
  for (const MetricAnalysis* metric : metrics) p.push_back(*metric->estimate->p_value);
  p = adjusted(rules, std::move(p));
  for (std::size_t i = 0; i < metrics.size(); ++i) {
    metrics[i]->p_adjusted = p[i];
    if (const auto word = word_of(*metrics[i], p[i])) metrics[i]->word = word_text(*word);
  }
}

double mean_of(const CellSamples& cell, const std::string& metric, char arm) {
  double sum = 0;
  int count = 0;
  for (const SamplePair& pair : cell.pairs)
    if (const auto value = value_of(arm == 'A' ? *pair.a : *pair.b, metric)) sum += *value, ++count;
  return count ? sum / count : 0;
}

bool is_time(const std::string& metric) { return metric.ends_with("_s") && !metric.ends_with("_per_s"); }

std::vector<PairDifference> second_differences(const CellSamples& cell, const std::string& metric) {
  std::vector<PairDifference> differences;
  for (const SamplePair& pair : cell.pairs)
    if (const auto a = value_of(*pair.a, metric), b = value_of(*pair.b, metric); a && b) differences.push_back({*b - *a, pair.a_first});
  return differences;
}

// What a control's shift is held against: beyond `limit` it is not small, in seconds where both it and the primary are times.
struct ControlTest {
  double p = 1, shift = 0, limit = 0;
};

ControlTest test_control(const Rules& rules, const CellSamples& samples, const CellNoise* noise, double tau, ControlAnalysis& control) {
  const MetricAnalysis analysis = analyse_metric(rules, samples, noise, control.metric);
  const double floor = analysis.noise_floor.value_or(0);
  ControlTest test;
  control.measured = analysis.estimate.has_value();
  if (analysis.estimate) {
    control.shift = analysis.estimate->effect;
    test = {analysis.estimate->p_value.value_or(1.0), std::abs(*control.shift), std::max(tau, floor)};
  }
  if (!is_time(control.metric) || !is_time(rules.scenario.primary)) return test;
  const std::vector<PairDifference> differences = second_differences(samples, control.metric);
  if (differences.empty()) return test;
  const CrossoverEstimate seconds = crossover_t(differences);
  control.measured = true, control.shift_s = seconds.effect;
  const bool has_zeros = static_cast<int>(differences.size()) > analysis.pairs;  // a phase may take no time at all, and has no ratio then
  if (has_zeros) control.shift.reset(), test.p = seconds.p_value.value_or(1.0);
  test.shift = std::abs(seconds.effect);
  test.limit = std::max(tau * mean_of(samples, rules.scenario.primary, 'A'), floor * mean_of(samples, control.metric, 'A'));
  return test;
}

// A control moved when its adjusted interval excludes 0 and the shift is larger than what the verdict itself calls small.
void check_controls(const Rules& rules, const CellSamples& samples, const CellNoise* noise, CellAnalysis& out) {
  const double tau = out.metrics.at(rules.scenario.primary).tau;
  std::vector<ControlTest> tests;
  std::vector<double> p;
  for (const std::string& metric : rules.scenario.expect.controls) {
    out.controls.push_back({metric, false, std::nullopt, std::nullopt, std::nullopt, false});
    tests.push_back(test_control(rules, samples, noise, tau, out.controls.back()));
    p.push_back(tests.back().p);
  }
  p = adjusted(rules, std::move(p));
  for (std::size_t i = 0; i < out.controls.size(); ++i) {
    if (!out.controls[i].measured) continue;
    out.controls[i].p_adjusted = p[i];
    out.controls[i].moved = p[i] < kControlAlpha && tests[i].shift > tests[i].limit;
  }
}

void add_waterfall(const Rules& rules, const CellSamples& samples, CellAnalysis& out) {
  const Scenario& scenario = rules.scenario;
  if (!scenario.primary.ends_with(".total_s")) return;
  const std::string prefix = scenario.primary.substr(0, scenario.primary.size() - std::string("total_s").size());
  std::set<std::string> phases;
  for (const Sample* sample : samples.good)
    for (const auto& [name, value] : sample->metrics)
      if (name.starts_with(prefix) && name.ends_with("_s") && !name.ends_with("_busy_s") && !name.ends_with("_per_s")) phases.insert(name);
  if (phases.size() < 2) return;
  double explained_s = 0, total_s = 0;
  for (const std::string& phase : phases) {
    std::vector<PairDifference> differences;  // a phase that one arm does not have took no time there
    for (const SamplePair& pair : samples.pairs)
      differences.push_back({value_of(*pair.b, phase).value_or(0) - value_of(*pair.a, phase).value_or(0), pair.a_first});
    if (differences.empty()) return;
    const CrossoverEstimate estimate = crossover_t(differences, 1 - rules.look_level);
    if (phase == scenario.primary) {
      total_s = estimate.effect;
      continue;
    }
    explained_s += estimate.effect;
    out.waterfall.push_back({phase.substr(0, phase.size() - 2), estimate.effect, estimate.interval});
  }
  out.residual_s = total_s - explained_s;
}

std::string invalid_reason(const CellAnalysis& cell) {
  for (const GateResult& gate : cell.gates)
    if (gate.state == "fail") return gate.finding;
  return "";
}

std::string numbers(const Rules& rules, const MetricAnalysis& primary) {
  const Interval i = *primary.estimate->interval;
  const std::size_t looks = rules.scenario.looks.size();
  return fmt::format("95 % interval{} {:+.2f} to {:+.2f} %, {} pairs", looks > 1 ? fmt::format(" over {} looks", looks) : "",
                     percent(i.low), percent(i.high), primary.pairs);
}

// What would decide it. Over several cells the test is stricter than the interval shows.
std::string remedy(const Rules& rules, const MetricAnalysis& primary) {
  const CrossoverEstimate& e = *primary.estimate;
  const double cells = static_cast<double>(rules.scenario.cells.size());
  const double threshold = ln_of_percent(rules.scenario.threshold_percent);
  const auto tau_at = [&](int pairs) { return std::max(threshold, primary.noise->at(pairs)); };
  const auto needed = primary.noise ? pairs_needed(e, tau_at, kMostPairs, rules.look_level / cells)
                                    : pairs_needed(e, threshold, kMostPairs, rules.look_level / cells);
  const bool held_back = *e.p_value < rules.look_level && primary.p_adjusted.value_or(1.0) >= kAlpha && std::abs(e.effect) > primary.tau;
  const std::string why = held_back ? fmt::format("p = {:.2g} when adjusted for {} cells; ", *primary.p_adjusted, cells) : "";
  if (!needed) return why + fmt::format("even {} pairs would not decide; lower the noise or change the threshold", kMostPairs);
  if (*needed <= primary.pairs) return why + fmt::format("it is at the edge: try {} pairs", 2 * primary.pairs);
  return why + fmt::format("about {} pairs would decide", *needed);
}

std::string reason_of(const Rules& rules, const MetricAnalysis& primary, Word word) {
  const std::string &metric = rules.scenario.primary, found = numbers(rules, primary);
  const double effect = primary.estimate->effect;
  if (word == Word::kFaster || word == Word::kSlower)
    return fmt::format("B is {:.2f} % {} than A in {} ({})", std::abs(percent(effect)), word == Word::kFaster ? "faster" : "slower", metric, found);
  if (word == Word::kEquivalent)
    return fmt::format("A and B are equal in {} within {:.2f} % ({}; a difference of {:.2f} % would have been found)", metric,
                       percent(primary.tau), found, percent(*primary.mde));
  return fmt::format("{} differs by {:+.2f} % ({}; smallest difference that could be found {:.2f} %): {}", metric, percent(effect), found,
                     percent(*primary.mde), remedy(rules, primary));
}

void give_word(const Rules& rules, CellAnalysis& cell) {
  const Scenario& scenario = rules.scenario;
  const MetricAnalysis& primary = cell.metrics[scenario.primary];
  cell.reason = invalid_reason(cell);
  if (!cell.reason.empty()) {
    cell.word = Word::kInvalid;
    return;
  }
  const auto word = word_of(primary, primary.p_adjusted.value_or(1.0));
  cell.word = scenario.exploratory ? Word::kInconclusive : word.value_or(Word::kInconclusive);
  if (scenario.exploratory)
    cell.reason = "exploratory: 2 pairs a cell give no verdict; set plan.pairs to 8 for those that matter";
  else if (!word)
    cell.reason = fmt::format("{} pairs of {} are too few for an interval; take at least 2 in each order, 8 in all", primary.pairs,
                              scenario.primary);
  else
    cell.reason = reason_of(rules, primary, *word);
}

CellAnalysis measure_cell(const Rules& rules, std::size_t index, const CellSamples& samples) {
  const Scenario& scenario = rules.scenario;
  const CellNoise* noise = rules.noise(index);
  CellAnalysis out;
  out.name = scenario.cells[index].name;
  out.failed_a = samples.failed_a, out.failed_b = samples.failed_b;
  std::set<std::string> names{scenario.primary};
  for (const Sample* sample : samples.good)
    for (const auto& [name, value] : sample->metrics)
      if (has_direction(scenario, name)) names.insert(name);
  for (const std::string& name : names) out.metrics[name] = analyse_metric(rules, samples, noise, name);
  std::vector<MetricAnalysis*> secondary;
  for (auto& [name, metric] : out.metrics)
    if (name != scenario.primary) secondary.push_back(&metric);
  adjust(rules, secondary);
  out.outputs = check_outputs(scenario.expect, samples);
  check_controls(rules, samples, noise, out);
  add_waterfall(rules, samples, out);
  out.gates = check_gates(scenario, scenario.cells[index], samples, out);
  out.flags = cell_flags(scenario, scenario.cells[index], samples);
  const MetricAnalysis& primary = out.metrics[scenario.primary];
  const bool no_spread = primary.estimate && primary.estimate->standard_error == 0.0 && primary.estimate->effect != 0;
  if (no_spread && !scenario.primary.ends_with("_bytes")) out.flags.push_back("coarse?");  // times so equal were read off too coarse a clock
  return out;
}

void add_noise_floor(const Rules& rules, Verdict& verdict) {
  verdict.noise_floor_from = "not measured";
  bool everywhere = true;
  double largest = 0;
  for (std::size_t i = 0; i < verdict.cells.size(); ++i) {
    const MetricAnalysis& primary = verdict.cells[i].metrics.at(rules.scenario.primary);
    verdict.tau = std::max(verdict.tau, primary.tau);
    if (!primary.noise_floor) {
      everywhere = false;
    } else if (*primary.noise_floor >= largest) {
      largest = *primary.noise_floor;
      verdict.noise_floor_from = rules.noise(i)->from;
    }
  }
  if (everywhere) verdict.noise_floor = largest;
  else verdict.noise_floor_from = "not measured";
}

}  // namespace

const char* word_text(Word word) {
  constexpr const char* kTexts[] = {"FASTER", "EQUIVALENT", "INCONCLUSIVE", "SLOWER", "INVALID"};
  return kTexts[static_cast<int>(word)];
}

int word_exit_code(Word word) {
  constexpr int kCodes[] = {0, 0, 2, 1, 3};
  return kCodes[static_cast<int>(word)];
}

std::vector<PairDifference> pair_differences(const Scenario& scenario, const CellSamples& cell, const std::string& metric) {
  const double sign = higher_is_better(scenario, metric) ? -1 : 1;
  std::vector<PairDifference> pairs;
  for (const SamplePair& pair : cell.pairs) {
    const auto a = value_of(*pair.a, metric), b = value_of(*pair.b, metric);
    if (a && b && *a > 0 && *b > 0) pairs.push_back({sign * std::log(*b / *a), pair.a_first});  // a zero has no ratio
  }
  return pairs;
}

bool is_decided(const Verdict& verdict) {
  return verdict.word == Word::kInvalid ||
         std::none_of(verdict.cells.begin(), verdict.cells.end(), [](const CellAnalysis& cell) { return cell.word == Word::kInconclusive; });
}

Verdict judge(const Scenario& scenario, const std::vector<Sample>& samples, const NoiseFloors& floors) {
  const Rules rules{scenario, floors, look_level(scenario.looks)};
  Verdict verdict;
  verdict.look_level = rules.look_level;
  std::vector<CellSamples> cells;
  for (std::size_t i = 0; i < scenario.cells.size(); ++i) {
    cells.push_back(collect_cell(samples, static_cast<int>(i)));
    verdict.cells.push_back(measure_cell(rules, i, cells.back()));
  }
  std::vector<MetricAnalysis*> primaries;
  for (CellAnalysis& cell : verdict.cells) primaries.push_back(&cell.metrics[scenario.primary]);
  adjust(rules, primaries);
  const CellAnalysis* worst = nullptr;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    give_word(rules, verdict.cells[i]);
    if (!worst || verdict.cells[i].word > worst->word) worst = &verdict.cells[i];
  }
  verdict.word = worst->word;
  verdict.reason = (worst->name.empty() ? "" : worst->name + ": ") + worst->reason;
  add_noise_floor(rules, verdict);
  verdict.crossings = sweep_crossings(scenario, verdict);
  if (verdict.word != Word::kInvalid && !scenario.exploratory)
    verdict.reason += verdict.noise_floor ? fmt::format("; noise floor {:.2f} % ({})", percent(*verdict.noise_floor), verdict.noise_floor_from)
                                          : "; the noise floor of this machine is not measured";
  return verdict;
}

}  // namespace crossover
