#include "bench/verdict.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "bench/gates.h"

namespace crossover {

namespace {

constexpr double kAlpha = 0.05;

std::optional<double> value_of(const Sample& sample, const std::string& metric) {
  const auto it = sample.metrics.find(metric);
  if (it == sample.metrics.end()) return std::nullopt;
  return it->second;
}

bool has_direction(const Scenario& scenario, const std::string& metric) {
  return scenario.higher_is_better.contains(metric) || metric.ends_with("_s") || metric.ends_with("_bytes");
}

MetricAnalysis analyse_metric(const Scenario& scenario, const CellSamples& cell, const std::string& metric, double tau) {
  const double sign = higher_is_better(scenario, metric) ? -1 : 1;
  std::vector<PairDifference> pairs;
  std::vector<double> d;
  for (const SamplePair& pair : cell.pairs) {
    const auto a = value_of(*pair.a, metric), b = value_of(*pair.b, metric);
    if (!a || !b || *a <= 0 || *b <= 0) continue;  // a zero has no ratio
    d.push_back(sign * std::log(*b / *a));
    pairs.push_back({d.back(), pair.a_first});
  }
  MetricAnalysis out;
  out.pairs = static_cast<int>(pairs.size());
  if (pairs.empty()) return out;
  out.estimate = crossover_t(pairs);
  out.robust = hodges_lehmann(d);
  if (out.estimate->standard_error) out.mde = minimum_detectable_effect(*out.estimate->standard_error, out.pairs - 2, tau);
  return out;
}

// What the numbers alone say. `p` is the adjusted one.
std::optional<Word> word_of(const MetricAnalysis& metric, double p, double tau) {
  if (!metric.estimate || !metric.estimate->interval) return std::nullopt;
  const CrossoverEstimate& e = *metric.estimate;
  if (p < kAlpha && std::abs(e.effect) > tau) return e.effect < 0 ? Word::kFaster : Word::kSlower;
  if (e.equivalence_interval->low > -tau && e.equivalence_interval->high < tau) return Word::kEquivalent;
  return Word::kInconclusive;
}

void adjust(std::vector<MetricAnalysis*> metrics, double tau) {
  std::erase_if(metrics, [](const MetricAnalysis* m) { return !m->estimate || !m->estimate->p_value; });
  std::vector<double> p;
  for (const MetricAnalysis* metric : metrics) p.push_back(*metric->estimate->p_value);
  const std::vector<double> adjusted = holm(p);
  for (std::size_t i = 0; i < metrics.size(); ++i) {
    metrics[i]->p_adjusted = adjusted[i];
    if (const auto word = word_of(*metrics[i], adjusted[i], tau)) metrics[i]->word = word_text(*word);
  }
}

double mean_of(const CellSamples& cell, const std::string& metric, char arm) {
  double sum = 0;
  int count = 0;
  for (const SamplePair& pair : cell.pairs)
    if (const auto value = value_of(arm == 'A' ? *pair.a : *pair.b, metric)) sum += *value, ++count;
  return count ? sum / count : 0;
}

// A control moved when its adjusted interval excludes 0 and the shift is larger than what the verdict itself calls small.
void check_controls(const Scenario& scenario, const CellSamples& samples, double tau, CellAnalysis& out) {
  std::vector<double> p;
  for (const std::string& metric : scenario.expect.controls) {
    ControlAnalysis control{metric, std::nullopt, std::nullopt, false};
    const MetricAnalysis analysis = analyse_metric(scenario, samples, metric, tau);
    if (analysis.estimate) control.shift = analysis.estimate->effect;
    p.push_back(analysis.estimate ? analysis.estimate->p_value.value_or(1.0) : 1.0);
    out.controls.push_back(control);
  }
  const std::vector<double> adjusted = holm(p);
  const auto is_time = [](const std::string& name) { return name.ends_with("_s") && !name.ends_with("_per_s"); };
  for (std::size_t i = 0; i < out.controls.size(); ++i) {
    ControlAnalysis& control = out.controls[i];
    if (!control.shift) continue;
    control.p_adjusted = adjusted[i];
    double shift = std::abs(*control.shift), limit = tau;
    if (is_time(control.metric) && is_time(scenario.primary)) {  // seconds against seconds
      shift = std::abs(mean_of(samples, control.metric, 'B') - mean_of(samples, control.metric, 'A'));
      limit = tau * mean_of(samples, scenario.primary, 'A');
    }
    control.moved = adjusted[i] < kAlpha && shift > limit;
  }
}

void add_waterfall(const Scenario& scenario, const CellSamples& samples, CellAnalysis& out) {
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
    const CrossoverEstimate estimate = crossover_t(differences);
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

std::string numbers(const MetricAnalysis& primary) {
  const Interval i = *primary.estimate->interval;
  return fmt::format("95 % interval {:+.2f} to {:+.2f} %, {} pairs", percent(i.low), percent(i.high), primary.pairs);
}

std::string reason_of(const Scenario& scenario, const MetricAnalysis& primary, Word word, double tau) {
  const CrossoverEstimate& e = *primary.estimate;
  const std::string change = fmt::format("{:.2f} %", std::abs(percent(e.effect)));
  if (word == Word::kFaster || word == Word::kSlower)
    return fmt::format("B is {} {} than A in {} ({})", change, word == Word::kFaster ? "faster" : "slower", scenario.primary,
                       numbers(primary));
  if (word == Word::kEquivalent)
    return fmt::format("A and B are equal in {} within {:.2f} % ({}; a difference of {:.2f} % would have been found)", scenario.primary,
                       percent(tau), numbers(primary), percent(*primary.mde));
  const auto needed = pairs_needed(e, tau);
  const std::string more = !needed                    ? std::string("even 1000 pairs would not decide; lower the noise or change the threshold")
                           : *needed <= primary.pairs ? fmt::format("it is at the edge: try {} pairs", 2 * primary.pairs)
                                                      : fmt::format("about {} pairs would decide", *needed);
  return fmt::format("{} differs by {:+.2f} % ({}; smallest difference that could be found {:.2f} %): {}", scenario.primary,
                     percent(e.effect), numbers(primary), percent(*primary.mde), more);
}

void give_word(const Scenario& scenario, double tau, CellAnalysis& cell) {
  const MetricAnalysis& primary = cell.metrics[scenario.primary];
  cell.reason = invalid_reason(cell);
  if (!cell.reason.empty()) {
    cell.word = Word::kInvalid;
    return;
  }
  const auto word = word_of(primary, primary.p_adjusted.value_or(1.0), tau);
  cell.word = scenario.exploratory ? Word::kInconclusive : word.value_or(Word::kInconclusive);
  if (scenario.exploratory)
    cell.reason = "exploratory: 2 pairs a cell give no verdict; set plan.pairs to 8 for those that matter";
  else if (!word)
    cell.reason = fmt::format("{} pairs of {} are too few for an interval; take at least 2 in each order, 8 in all", primary.pairs,
                              scenario.primary);
  else
    cell.reason = reason_of(scenario, primary, *word, tau);
}

CellAnalysis measure_cell(const Scenario& scenario, const Cell& cell, const CellSamples& samples, double tau) {
  CellAnalysis out;
  out.name = cell.name;
  out.failed_a = samples.failed_a, out.failed_b = samples.failed_b;
  std::set<std::string> names{scenario.primary};
  for (const Sample* sample : samples.good)
    for (const auto& [name, value] : sample->metrics)
      if (has_direction(scenario, name)) names.insert(name);
  for (const std::string& name : names) out.metrics[name] = analyse_metric(scenario, samples, name, tau);
  std::vector<MetricAnalysis*> secondary;
  for (auto& [name, metric] : out.metrics)
    if (name != scenario.primary) secondary.push_back(&metric);
  adjust(secondary, tau);
  out.outputs = check_outputs(scenario.expect, samples);
  check_controls(scenario, samples, tau, out);
  add_waterfall(scenario, samples, out);
  out.gates = check_gates(scenario, cell, samples, out);
  out.flags = cell_flags(scenario, cell, samples);
  return out;
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

Verdict judge(const Scenario& scenario, const std::vector<Sample>& samples, std::optional<double> noise_floor) {
  Verdict verdict;
  verdict.tau = std::max(ln_of_percent(scenario.threshold_percent), noise_floor.value_or(0));
  std::vector<CellSamples> cells;
  for (std::size_t i = 0; i < scenario.cells.size(); ++i) {
    cells.push_back(collect_cell(samples, static_cast<int>(i)));
    verdict.cells.push_back(measure_cell(scenario, scenario.cells[i], cells.back(), verdict.tau));
  }
  std::vector<MetricAnalysis*> primaries;
  for (CellAnalysis& cell : verdict.cells) primaries.push_back(&cell.metrics[scenario.primary]);
  adjust(primaries, verdict.tau);
  const CellAnalysis* worst = nullptr;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    give_word(scenario, verdict.tau, verdict.cells[i]);
    if (!worst || verdict.cells[i].word > worst->word) worst = &verdict.cells[i];
  }
  verdict.word = worst->word;
  verdict.reason = (worst->name.empty() ? "" : worst->name + ": ") + worst->reason;
  const bool judged = verdict.word != Word::kInvalid && !scenario.exploratory;
  if (judged && !noise_floor) verdict.reason += "; the noise floor of this machine is not measured";
  return verdict;
}

}  // namespace crossover
