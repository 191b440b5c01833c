#include "bench/calibrate/calibrate_processes.h"

#include <fmt/format.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "bench/journal.h"
#include "bench/json_text.h"
#include "bench/machine/environment.h"

namespace crossover {

namespace {

bool is_difference(Word word) { return word == Word::kFaster || word == Word::kSlower; }

double seconds_of(const std::vector<Sample>& samples) {
  const auto first_s = utc_seconds(samples.front().started_at), last_s = utc_seconds(samples.back().started_at);
  return first_s && last_s ? *last_s - *first_s : 0;
}

// Counts what the verdicts of runs said.
struct Counts {
  Proportion verdict, verdict_without_threshold, invalid, covered, order_seen;

  void add(const Scenario& scenario, const RunOutcome& outcome) {
    Scenario without = scenario;  // the same samples judged by the interval alone
    without.threshold_percent = 0;
    verdict.count += is_difference(outcome.verdict.word), ++verdict.of;
    verdict_without_threshold.count += is_difference(judge(without, outcome.samples).word), ++verdict_without_threshold.of;
    invalid.count += outcome.verdict.word == Word::kInvalid, ++invalid.of;
    for (const CellAnalysis& cell : outcome.verdict.cells) {
      const MetricAnalysis& primary = cell.metrics.at(scenario.primary);
      if (!primary.estimate || !primary.estimate->interval) continue;
      const Interval effect = *primary.estimate->interval, order = *primary.estimate->order_interval;
      covered.count += effect.low <= 0 && 0 <= effect.high, ++covered.of;
      order_seen.count += order.low > 0 || order.high < 0, ++order_seen.of;
    }
  }

  std::vector<CalibrationRate> rates(const Scenario& scenario) const {
    const std::string& name = scenario.name;
    const auto with = fmt::format("FASTER or SLOWER at the scenario's threshold of {:g} %", scenario.threshold_percent);
    std::vector<CalibrationRate> list{
        {name, "false_verdict", with, verdict, kFalseVerdictLimit, true},
        {name, "false_verdict_threshold_0", "FASTER or SLOWER at a threshold of 0", verdict_without_threshold, kFalseVerdictLimit, true},
        {name, "invalid", "INVALID", invalid, kInvalidLimit, true},
        {name, "covered", "the interval holds 0", covered, kCoverageLimit, false},
        {name, "order_seen", "the order effect's interval excludes 0", order_seen, {}, true}};
    std::erase_if(list, [](const CalibrationRate& rate) { return rate.counted.of == 0; });
    return list;
  }
};

}  // namespace

std::string identical_arms(const std::string& text, const std::string& source) {
  nlohmann::json document = parse_json(text, source, /*comments=*/true);
  if (document.is_object() && document.contains("arms") && document["arms"].is_object() && document["arms"].contains("A"))
    document["arms"]["B"] = document["arms"]["A"];
  return document.dump();
}

ProcessCalibration calibrate_processes(const std::string& text, const std::string& source, const ScenarioChanges& changes, Target& target,
                                       const ProcessCalibrationOptions& options) {
  if (options.runs < 1) throw std::invalid_argument(fmt::format("{} runs count nothing; take 1 or more", options.runs));
  const std::string same = identical_arms(text, source);
  ProcessCalibration out;
  out.environment = environment_json();
  Counts counts;
  Scenario scenario;
  for (int run = 0; run < options.runs; ++run) {
    if (options.progress) options.progress(run);
    ScenarioChanges seeded = changes;
    seeded.sets.push_back(fmt::format("/plan/seed={}", options.seed + static_cast<std::uint64_t>(run)));
    scenario = parse_scenario(same, source, seeded);
    RunOptions how;
    how.out = options.folder / fmt::format("seed-{}", scenario.seed);
    how.resume = holds_journal(how.out), how.quiet = true, how.ambient = split_environment(environ, scenario, false);
    const RunOutcome outcome = run_scenario(scenario, target, how);
    counts.add(scenario, outcome);
    ProcessRun entry{scenario.seed, word_text(outcome.verdict.word), {}, seconds_of(outcome.samples)};
    for (const CellAnalysis& cell : outcome.verdict.cells)
      if (const auto& estimate = cell.metrics.at(scenario.primary).estimate) entry.cells.push_back(*estimate);
    out.runs.push_back(std::move(entry));
  }
  out.scenario = scenario.name, out.primary = scenario.primary;
  out.threshold_percent = scenario.threshold_percent, out.pairs = scenario.pairs;
  out.rates = counts.rates(scenario);
  return out;
}

}  // namespace crossover
