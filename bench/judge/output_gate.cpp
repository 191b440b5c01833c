// Did both arms compute the same? Token hash, first divergence, logit gap; and A against itself before B is blamed.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "bench/judge/gates.h"

namespace crossover {

namespace {

// In these parts of the largest logit two choices are as good as equal: rounding alone may swap them.
constexpr double kNearTie = 1e-3;

std::optional<double> logit_of(const LogitRow& row, std::int64_t id) {
  const auto it = std::find(row.ids.begin(), row.ids.end(), id);
  if (it == row.ids.end()) return std::nullopt;
  return row.logits[static_cast<std::size_t>(it - row.ids.begin())];
}

std::optional<std::size_t> divergence(const Sample& a, const Sample& b) {
  const std::size_t shared = std::min(a.output_tokens.size(), b.output_tokens.size());
  for (std::size_t i = 0; i < shared; ++i)
    if (a.output_tokens[i] != b.output_tokens[i]) return i;
  if (a.output_tokens.size() != b.output_tokens.size()) return shared;
  return std::nullopt;
}

// Over the rows up to the first differing choice, which both computed from the same tokens, at the ids that both recorded.
std::optional<double> nmse(const Sample& a, const Sample& b) {
  const std::size_t rows = std::min({a.top_logits.size(), b.top_logits.size(), divergence(a, b).value_or(SIZE_MAX - 1) + 1});
  double squares = 0, errors = 0;
  for (std::size_t row = 0; row < rows; ++row)
    for (std::size_t i = 0; i < a.top_logits[row].ids.size(); ++i)
      if (const auto other = logit_of(b.top_logits[row], a.top_logits[row].ids[i])) {
        const double mine = a.top_logits[row].logits[i];
        squares += mine * mine, errors += (mine - *other) * (mine - *other);
      }
  if (squares == 0) return std::nullopt;
  return errors / squares;
}

struct Gap {
  double size = 0;   // between the two choices
  double share = 0;  // of the row's largest logit
};

std::optional<Gap> gap_in(const Sample& sample, std::size_t index, std::int64_t a, std::int64_t b) {
  if (index >= sample.top_logits.size()) return std::nullopt;
  const auto of_a = logit_of(sample.top_logits[index], a), of_b = logit_of(sample.top_logits[index], b);
  if (!of_a || !of_b) return std::nullopt;
  double largest = 0;
  for (const double logit : sample.top_logits[index].logits) largest = std::max(largest, std::abs(logit));
  const double size = std::abs(*of_a - *of_b);
  return Gap{size, largest > 0 ? size / largest : 0};
}

// A tie is one only where both arms saw it: an arm whose logits are wrong may prefer its choice by far.
std::optional<Gap> gap_at(const SamplePair& pair, std::size_t index) {
  if (index >= pair.a->output_tokens.size() || index >= pair.b->output_tokens.size()) return std::nullopt;
  const std::int64_t a = pair.a->output_tokens[index], b = pair.b->output_tokens[index];
  const auto in_a = gap_in(*pair.a, index, a, b), in_b = gap_in(*pair.b, index, a, b);
  if (!in_a || !in_b) return in_a ? in_a : in_b;
  return in_a->share >= in_b->share ? in_a : in_b;
}

struct Difference {
  int pairs = 0;               // that differ
  const SamplePair* worst = nullptr;  // the one with the largest gap; the first one where none is known
  std::optional<std::size_t> index;   // of its first differing token
  std::optional<Gap> gap;
};

Difference find_difference(const CellSamples& cell, OutputAnalysis& out) {
  Difference found;
  for (const SamplePair& pair : cell.pairs) {
    if (pair.a->output_hash == pair.b->output_hash) continue;
    ++found.pairs;
    const auto index = divergence(*pair.a, *pair.b);
    const auto gap = index ? gap_at(pair, *index) : std::nullopt;
    if (index) out.first_divergence = std::min(out.first_divergence.value_or(INT64_MAX), static_cast<std::int64_t>(*index));
    const bool worse = gap && (!found.gap || gap->share > found.gap->share);
    if (!found.worst || worse) found.worst = &pair, found.index = index, found.gap = gap;
  }
  if (found.gap) out.logit_gap = found.gap->size;
  return found;
}

std::string explain(const Difference& difference, std::size_t pairs) {
  std::string text = fmt::format("the outputs of the arms differ in pair {}", difference.worst->a->pair);
  if (difference.index) text += fmt::format(" from token {} on", *difference.index);
  if (difference.gap)
    text += fmt::format(" (logit gap {:.3g}: {})", difference.gap->size, difference.gap->share <= kNearTie ? "a near tie" : "too large for rounding");
  if (difference.pairs > 1) text += fmt::format(", and in {} of {} pairs in all", difference.pairs, pairs);
  if (!difference.gap) return text + "; find out why, or say in expect.outputs what may differ";
  return text + (difference.gap->share <= kNearTie
                     ? "; rounding alone explains it: bound the logits with expect.outputs {\"tolerance\": {\"logit_nmse\": ...}}"
                     : "; B computes something else than A: correct it before timing it");
}

void judge_identity(const CellSamples& cell, OutputAnalysis& out) {
  for (const SamplePair& pair : cell.pairs) {
    if (pair.a->output_hash.empty() || pair.b->output_hash.empty()) {
      out.gate = "inconclusive";
      out.trouble = "identical outputs are expected and a sample recorded none; record them or set expect.outputs to ignore";
      return;
    }
  }
  const Difference difference = find_difference(cell, out);
  if (!cell.pairs.empty()) out.identical = difference.pairs == 0;
  const bool checked = cell.control && cell.first_a;
  if (checked && cell.control->output_hash != cell.first_a->output_hash) {
    out.gate = "inconclusive";
    out.trouble =
        "A does not repeat its own output for the same prompt, so the outputs of B cannot be judged; make it deterministic or set "
        "expect.outputs to ignore";
    return;
  }
  out.gate = difference.pairs == 0 ? "pass" : checked ? "fail" : "inconclusive";
  if (difference.pairs == 0) return;
  out.trouble = explain(difference, cell.pairs.size());
  if (!checked) out.trouble += "; whether A repeats itself is not known, because the determinism control failed or is missing: run again";
}

void judge_tolerance(double bound, const CellSamples& cell, OutputAnalysis& out) {
  find_difference(cell, out);
  for (const SamplePair& pair : cell.pairs) {
    const bool known = !pair.a->output_hash.empty() && !pair.b->output_hash.empty();
    out.identical = out.identical.value_or(true) && known && pair.a->output_hash == pair.b->output_hash;
    const auto error = nmse(*pair.a, *pair.b);
    if (!error) {
      out.gate = "inconclusive";
      out.trouble = "a bound on the logits is expected and a sample recorded none; record them or set expect.outputs to ignore";
      return;
    }
    out.logit_nmse = std::max(out.logit_nmse.value_or(0), *error);
  }
  const auto own = cell.control && cell.first_a ? nmse(*cell.first_a, *cell.control) : std::nullopt;
  const bool over = out.logit_nmse.value_or(0) > bound;
  if (over && own && *own > bound) {
    out.gate = "inconclusive";
    out.trouble = fmt::format("A differs from itself by an NMSE of {:.3g} for the same prompt, allowed is {:.3g}; make it deterministic, or allow more",
                              *own, bound);
    return;
  }
  out.gate = over ? "fail" : "pass";
  if (over)
    out.trouble = fmt::format("the logits of the arms differ by an NMSE of {:.3g}, allowed is {:.3g}; correct B before timing it",
                              *out.logit_nmse, bound);
}

}  // namespace

OutputAnalysis check_outputs(const Expectations& expect, const CellSamples& cell) {
  OutputAnalysis out;
  if (expect.outputs == OutputRule::kIgnore) {
    out.gate = "ignored";
    return out;
  }
  if (expect.outputs == OutputRule::kIdentical) judge_identity(cell, out);
  else judge_tolerance(expect.logit_nmse, cell, out);
  return out;
}

}  // namespace crossover
