#include "bench/noise/noise_run.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <stdexcept>

#include "bench/journal.h"
#include "bench/judge/gates.h"
#include "kernels/trace.h"

namespace crossover {

namespace {

using nlohmann::json;

json sweep_of_both(const json& sweep) {
  json out = json::object();
  for (const auto& [where, values] : sweep.items()) {
    if (where.starts_with("/arms/B/")) continue;
    out[where.starts_with("/arms/A/") ? "/arms/*/" + where.substr(8) : where] = values;
  }
  return out;
}

std::string brief(double seconds) { return seconds < 10 ? fmt::format("{:.2g}", seconds) : fmt::format("{:.0f}", seconds); }

// Differences of every metric in every comparison, by cell.
using Differences = std::vector<std::map<std::string, std::vector<std::vector<PairDifference>>>>;

class NoiseRun {
 public:
  NoiseRun(const Scenario& scenario, const NoisePlan& plan, Target& target, const RunOptions& options)
      : asked_(scenario), plan_(plan), target_(target), options_(options), result_{a_against_a(scenario, plan, 0), {}, 0, "", 0} {}

  NoiseResult operator()() {
    if (!options_.resume && holds_journal(options_of(0).out))
      throw std::runtime_error(fmt::format("{} holds the comparisons of another run; continue it with --resume or choose another --out", options_.out.string()));
    const double begin_s = monotonic_s();
    result_.cells.resize(result_.scenario.cells.size());
    differences_.resize(result_.scenario.cells.size());
    announce();
    const int most = plan_.comparisons + std::max(2, plan_.comparisons / 5);
    int good = 0;
    for (int i = 0; good < plan_.comparisons; ++i) {
      if (i == most) give_up(most);
      good += compare(i) ? 1 : 0;
    }
    for (std::size_t cell = 0; cell < result_.cells.size(); ++cell) {
      NoiseMeasured& measured = result_.cells[cell];
      measured.comparisons = plan_.comparisons, measured.pairs = plan_.pairs;
      for (const auto& [metric, comparisons] : differences_[cell])
        if (const NoiseFloor floor = estimate_noise_floor(comparisons); floor.comparisons >= kFewestComparisons)
          measured.noise.metrics[metric] = floor;
    }
    result_.seconds = monotonic_s() - begin_s;
    return std::move(result_);
  }

 private:
  void say(const std::string& line) const {
    if (options_.say) options_.say(line);
  }

  RunOptions options_of(int comparison) const {
    RunOptions options = options_;
    options.out = options_.out / fmt::format("aa-{:02}", comparison + 1);
    options.resume = options_.resume && holds_journal(options.out);
    options.resume_out = options_.out;
    options.say = nullptr;
    return options;
  }

  void announce() const {
    const std::size_t each = make_plan(result_.scenario).samples.size();
    const std::size_t all = each * static_cast<std::size_t>(plan_.comparisons);
    say(fmt::format("{}: {} comparisons of A with itself, {} pairs in {} cell{}, {} samples in all; a rehearsal of one first", asked_.name,
                    plan_.comparisons, plan_.pairs, result_.scenario.cells.size(), result_.scenario.cells.size() == 1 ? "" : "s", all));
    const double sample_s = rehearse_s(result_.scenario, target_, options_of(0));
    say(fmt::format("about {} s ({} s in the rehearsal)", brief(sample_s * static_cast<double>(all)), brief(sample_s)));
  }

  bool compare(int index) {
    const Scenario scenario = a_against_a(asked_, plan_, index);
    const double begin_s = monotonic_s();
    const RunOutcome outcome = run_scenario(scenario, target_, options_of(index));
    const Verdict& verdict = outcome.verdict;
    say(fmt::format("comparison {}: {} in {} s", index + 1, word_text(verdict.word), brief(monotonic_s() - begin_s)));
    if (verdict.word == Word::kInvalid) {
      if (result_.invalid++ == 0) result_.why_invalid = verdict.reason;
      return false;
    }
    for (std::size_t cell = 0; cell < verdict.cells.size(); ++cell) {
      const Word word = verdict.cells[cell].word;
      result_.cells[cell].false_verdicts += word == Word::kFaster || word == Word::kSlower ? 1 : 0;
      const CellSamples samples = collect_cell(outcome.samples, static_cast<int>(cell));
      for (const auto& [metric, unused] : verdict.cells[cell].metrics)
        differences_[cell][metric].push_back(pair_differences(scenario, samples, metric));
    }
    return true;
  }

  [[noreturn]] void give_up(int most) const {
    throw std::runtime_error(fmt::format("{} of {} comparisons of A with itself are INVALID, so there is no floor: {}", result_.invalid, most,
                                         result_.why_invalid));
  }

  const Scenario& asked_;
  const NoisePlan plan_;
  Target& target_;
  const RunOptions& options_;
  NoiseResult result_;
  Differences differences_;
};

}  // namespace

Scenario a_against_a(const Scenario& scenario, const NoisePlan& plan, int comparison) {
  if (plan.comparisons < kFewestComparisons)
    throw std::invalid_argument(fmt::format("{} comparisons are too few for a noise floor; take at least {}", plan.comparisons, kFewestComparisons));
  if (plan.pairs < kFewestPairsOfComparison)
    throw std::invalid_argument(fmt::format("{} pairs are too few for a comparison; take at least {}", plan.pairs, kFewestPairsOfComparison));
  json document = json::parse(scenario.json);
  document["arms"]["B"] = document["arms"]["A"];
  if (document.contains("sweep")) {
    const json sweep = sweep_of_both(document["sweep"]);
    document.erase("sweep");
    if (!sweep.empty()) document["sweep"] = sweep;
  }
  document["expect"]["differs"] = json::array();
  json paths = json::object();
  for (const auto& [path, wanted] : document["expect"]["path"].items())
    if (!path.starts_with("B.")) paths[path] = wanted;
  document["expect"]["path"] = paths;
  document["plan"].erase("looks");
  document["plan"]["pairs"] = plan.pairs;
  document["plan"]["seed"] = scenario.seed + 1 + static_cast<std::uint64_t>(comparison);
  return parse_scenario(document.dump(), scenario.name + " against itself");
}

NoiseResult measure_noise(const Scenario& scenario, const NoisePlan& plan, Target& target, const RunOptions& options) {
  return NoiseRun(scenario, plan, target, options)();
}

}  // namespace crossover
