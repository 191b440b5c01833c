// The verdict for a person who knows none of this.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "bench/report/words.h"

namespace crossover::report {

namespace {

std::string instead_of(const MetricRow& primary) {
  if (!primary.a || !primary.b) return primary.name;
  return fmt::format("{} instead of {}, {}, medians", quantity(scale_of(primary), primary.b), quantity(scale_of(primary), primary.a),
                     primary.name);
}

// "B (pool)" where one setting with a short value tells the arms apart.
std::string arm_name(const ResultView& result, bool is_b) {
  const KnobRow* only = nullptr;
  for (const KnobRow& row : result.arms) {
    if (row.a == row.b) continue;
    if (only) return is_b ? "B" : "A";
    only = &row;
  }
  const std::string name = is_b ? "B" : "A", value = !only ? "" : is_b ? only->b : only->a;
  return value.empty() || value.size() > 24 || value.starts_with("swept") ? name : name + " (" + value + ")";
}

std::string threshold(const ResultView& result) {
  return result.threshold_percent ? fmt::format("{:.4g} %", *result.threshold_percent) : std::string("the threshold");
}

}  // namespace

std::string plain_answer(const ResultView& result, const CellView& cell) {
  const MetricRow* primary = cell.primary();
  const std::string& word = cell.word.empty() ? result.word : cell.word;
  const std::string a = arm_name(result, false), b = arm_name(result, true);
  if (word == "INVALID") return "These numbers say nothing about the question: a check failed.";
  if (!primary || !primary->effect_percent) return "No effect could be computed.";
  if (word == "FASTER" || word == "SLOWER")
    return fmt::format("{} is {} than {}: {}.", b, change(*primary->effect_percent), a, instead_of(*primary));
  if (word == "EQUIVALENT") return fmt::format("{} and {} are equally fast within {}: {}.", a, b, threshold(result), instead_of(*primary));
  if (result.exploratory)
    return fmt::format("A look around, not a verdict: {} was {} than {} here.", b, change(*primary->effect_percent), a);
  return fmt::format("Not decided: {} was {} than {} in this run, which may be chance ({}).", b, change(*primary->effect_percent), a,
                     instead_of(*primary));
}

std::string how_sure(const CellView& cell) {
  const MetricRow* primary = cell.primary();
  if (!primary || !primary->effect_percent) return "";
  std::string text = primary->interval_percent
                         ? fmt::format("95 % interval of the effect: {} to {}", change(primary->interval_percent->low),
                                       change(primary->interval_percent->high))
                         : std::string("too few pairs for an interval");
  if (primary->n_pairs) text += fmt::format(", from {:.0f} pairs of fresh processes", *primary->n_pairs);
  if (primary->mde_percent)
    text += fmt::format("; the smallest effect that this run could be expected to find: {}", percent(primary->mde_percent));
  return text + ".";
}

std::string what_would_change_it(const ResultView& result, const CellView& cell) {
  const MetricRow* primary = cell.primary();
  const std::string& word = cell.word.empty() ? result.word : cell.word;
  if (!primary || !primary->effect_percent || word == "INVALID") return "";
  std::string text;
  if (word == "FASTER" || word == "SLOWER") {
    text = fmt::format("A threshold of {} or more (it is {}), or a check that fails.", percent(std::abs(*primary->effect_percent)),
                       threshold(result));
  } else if (word == "EQUIVALENT" && primary->equivalence_interval_percent) {
    const Interval& i = *primary->equivalence_interval_percent;
    text = fmt::format("A threshold below {} (it is {}; the 90 % interval is {}), or a check that fails.",
                       percent(std::max(std::abs(i.low), std::abs(i.high))), threshold(result), percent(std::optional(i)));
  } else if (word == "EQUIVALENT") {
    text = "A smaller threshold, or a check that fails.";
  } else if (result.exploratory) {
    text = "Eight pairs in the cells that matter (plan.pairs).";
  } else {
    text = "More pairs, a quieter machine, or a larger threshold.";
  }
  if (result.noise_floor_from == "not measured" && word != "INCONCLUSIVE")
    text += " How much two runs of one and the same program differ on this machine was not measured.";
  return text;
}

}  // namespace crossover::report
