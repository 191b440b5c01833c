// The verdict for a person who knows none of this.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "bench/report/words.h"

namespace crossover::report {

namespace {

std::string named(const std::string& metric) {
  const std::string means = meaning(metric);
  return means.empty() ? metric : means + ": " + metric;
}

std::string instead_of(const MetricRow& primary) {
  if (!primary.a || !primary.b) return named(primary.name);
  return fmt::format("{} instead of {} ({}, medians)", quantity(scale_of(primary), primary.b),
                     quantity(scale_of(primary), primary.a), named(primary.name));
}

// The percentages of a rate are of the time that its unit takes; the medians beside them are of the rate.
std::string compared(const MetricRow& primary) {
  return change(*primary.effect_percent, primary.name) + (primary.name.ends_with("_per_s") ? " in time" : "");
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
    return fmt::format("{} is {} than {}: {}.", b, compared(*primary), a, instead_of(*primary));
  if (word == "EQUIVALENT") return fmt::format("{} and {} are equally fast within {}: {}.", a, b, threshold(result), instead_of(*primary));
  if (result.exploratory)
    return fmt::format("A look around, not a verdict: {} was {} than {} here.", b, compared(*primary), a);
  return fmt::format("Not decided: {} was {} than {} in this run, which may be chance: {}.", b, compared(*primary), a,
                     instead_of(*primary));
}

namespace {

// Of more cells than are shown one by one.
std::string extremes(const ResultView& result) {
  const CellView *best = nullptr, *worst = nullptr;
  const auto effect = [](const CellView& cell) { return *cell.primary()->effect_percent; };
  for (const CellView& cell : result.cells) {
    if (!cell.primary() || !cell.primary()->effect_percent || cell.word == "INVALID") continue;
    if (!best || effect(cell) < effect(*best)) best = &cell;
    if (!worst || effect(cell) > effect(*worst)) worst = &cell;
  }
  if (!best || best == worst) return "";
  return fmt::format(" From {} ({}) to {} ({}).", change(effect(*best), result.primary), best->name,
                     change(effect(*worst), result.primary), worst->name);
}

}  // namespace

std::string plain_answer(const ResultView& result) {
  std::map<std::string, int> cells;
  for (const CellView& cell : result.cells) {
    const MetricRow* primary = cell.primary();
    if (!result.exploratory || cell.word == "INVALID")
      ++cells[cell.word];
    else if (primary && primary->effect_percent)
      ++cells[*primary->effect_percent < 0 ? "FASTER" : "SLOWER"];
  }
  std::string text, axes;
  const auto add = [&](const char* word, const char* says) {
    if (cells[word]) text += fmt::format("{}{} in {}", text.empty() ? "" : ", ", says, cells[word]);
  };
  const bool memory = result.primary.ends_with("bytes");
  add("FASTER", memory ? "smaller" : "faster"), add("EQUIVALENT", "equal"), add("SLOWER", memory ? "larger" : "slower");
  add("INCONCLUSIVE", "undecided"), add("INVALID", "a check failed");
  for (const Axis& axis : result.axes) axes += (axes.empty() ? "" : " and ") + axis.name;
  return fmt::format("{}{} against {} in {} cells{}: {}.{} Measured: {}{}.",
                     result.exploratory ? "A look around, no verdicts. " : "", arm_name(result, true),
                     arm_name(result, false), result.cells.size(), axes.empty() ? "" : " (settings of " + axes + ")",
                     text.empty() ? "no effect" : text, result.shows_each_cell() ? "" : extremes(result),
                     named(result.primary), result.primary.ends_with("_per_s") ? "; percentages are of the time" : "");
}

std::string short_answer(const CellView& cell) {
  const MetricRow* primary = cell.primary();
  if (!primary || !primary->effect_percent || cell.word == "INVALID") return "";
  return change(*primary->effect_percent, primary->name) +
         (primary->interval_percent ? " (" + changes(*primary->interval_percent, primary->name) + ")" : "");
}

bool full_names(const ResultView& result) {
  constexpr std::size_t kMostOfName = 26;
  return std::all_of(result.cells.begin(), result.cells.end(),
                     [](const CellView& cell) { return cell.name.size() <= kMostOfName; });
}

std::string cell_label(const ResultView& result, const CellView& cell) {
  if (full_names(result) || cell.settings.empty()) return cell.name;
  std::string text;
  for (const Fact& setting : cell.settings) text += (text.empty() ? "" : ", ") + setting.value;
  return text;
}

namespace {

// Far from zero the same distance is another percentage in each direction.
std::string smallest_found(double mde_percent, const std::string& metric) {
  if (mde_percent <= 10) return percent(std::optional(mde_percent));
  return fmt::format("{} or {}", change(100 / (1 + mde_percent / 100) - 100, metric), change(mde_percent, metric));
}

}  // namespace

std::string how_sure(const CellView& cell) {
  const MetricRow* primary = cell.primary();
  if (!primary || !primary->effect_percent) return "";
  std::string text = primary->interval_percent
                         ? "95 % interval of the effect: " + changes(*primary->interval_percent, primary->name)
                         : std::string("too few pairs for an interval");
  if (primary->n_pairs) text += fmt::format(", from {:.0f} pairs of fresh processes", *primary->n_pairs);
  if (primary->mde_percent)
    text += "; the smallest effect that this run could be expected to find: " +
            smallest_found(*primary->mde_percent, primary->name);
  return text + ".";
}

std::string how_sure(const ResultView& result) {
  std::optional<double> fewest, most;
  bool intervals = false;
  for (const CellView& cell : result.cells)
    if (const MetricRow* primary = cell.primary()) {
      intervals |= primary->interval_percent.has_value();
      if (!primary->n_pairs) continue;
      fewest = std::min(fewest.value_or(*primary->n_pairs), *primary->n_pairs);
      most = std::max(most.value_or(*primary->n_pairs), *primary->n_pairs);
    }
  if (!fewest) return "";
  const std::string pairs =
      *fewest == *most ? fmt::format("{:.0f}", *fewest) : fmt::format("{:.0f} to {:.0f}", *fewest, *most);
  return fmt::format("{} pairs of fresh processes in each cell; {}.", pairs,
                     intervals ? "in brackets the 95 % interval" : "too few for an interval");
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
