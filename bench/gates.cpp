#include "bench/gates.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <set>

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
  double size;
  bool near_tie;
};

std::optional<Gap> gap_at(const Sample& a, const Sample& b, std::size_t index) {
  if (index >= a.top_logits.size() || index >= a.output_tokens.size() || index >= b.output_tokens.size()) return std::nullopt;
  const auto mine = logit_of(a.top_logits[index], a.output_tokens[index]);
  const auto theirs = logit_of(a.top_logits[index], b.output_tokens[index]);
  if (!mine || !theirs) return std::nullopt;
  double largest = 0;
  for (const double logit : a.top_logits[index].logits) largest = std::max(largest, std::abs(logit));
  return Gap{std::abs(*mine - *theirs), std::abs(*mine - *theirs) <= kNearTie * largest};
}

std::string explain_difference(const SamplePair& pair, OutputAnalysis& out) {
  const auto index = divergence(*pair.a, *pair.b);
  if (!index) return fmt::format("the outputs of the arms differ in pair {}", pair.a->pair);
  if (!out.first_divergence || static_cast<std::int64_t>(*index) < *out.first_divergence)
    out.first_divergence = static_cast<std::int64_t>(*index);
  std::string text = fmt::format("the outputs of the arms differ in pair {} from token {} on", pair.a->pair, *index);
  if (const auto gap = gap_at(*pair.a, *pair.b, *index)) {
    out.logit_gap = gap->size;
    text += fmt::format(" (logit gap {:.3g}: {})", gap->size, gap->near_tie ? "a near tie" : "too large for rounding");
  }
  return text;
}

bool comparable(const Sample& a, const Sample& b) { return !a.output_hash.empty() && !b.output_hash.empty(); }

void judge_identity(const CellSamples& cell, OutputAnalysis& out) {
  bool repeats = true;
  if (cell.control && cell.first_a) repeats = cell.control->output_hash == cell.first_a->output_hash;
  for (const SamplePair& pair : cell.pairs) {
    if (!comparable(*pair.a, *pair.b)) {
      out.gate = "inconclusive", out.identical.reset();
      out.trouble = "identical outputs are expected and a sample recorded none; record them or set expect.outputs to ignore";
      return;
    }
    const bool same = pair.a->output_hash == pair.b->output_hash;
    out.identical = out.identical.value_or(true) && same;
    if (!same && out.trouble.empty()) out.trouble = explain_difference(pair, out);
  }
  out.gate = out.trouble.empty() ? "pass" : "fail";
  if (repeats) {
    if (!out.trouble.empty()) out.trouble += "; find out why, or say in expect.outputs what may differ";
    return;
  }
  out.gate = "inconclusive";
  out.trouble =
      "A does not repeat its own output for the same prompt, so the outputs of B cannot be judged; make it deterministic or set "
      "expect.outputs to ignore";
}

void judge_tolerance(double bound, const CellSamples& cell, OutputAnalysis& out) {
  for (const SamplePair& pair : cell.pairs) {
    out.identical = out.identical.value_or(true) && comparable(*pair.a, *pair.b) && pair.a->output_hash == pair.b->output_hash;
    if (pair.a->output_hash != pair.b->output_hash) explain_difference(pair, out);
    const auto error = nmse(*pair.a, *pair.b);
    if (!error) {
      out.gate = "inconclusive";
      out.trouble = "a bound on the logits is expected and a sample recorded none; record them or set expect.outputs to ignore";
      return;
    }
    out.logit_nmse = std::max(out.logit_nmse.value_or(0), *error);
  }
  const bool over = out.logit_nmse.value_or(0) > bound;
  out.gate = over ? "fail" : "pass";
  if (over)
    out.trouble = fmt::format("the logits of the arms differ by an NMSE of {:.3g}, allowed is {:.3g}; correct B before timing it",
                              *out.logit_nmse, bound);
}

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

std::string wrong_path(const Expectations& expect, const CellSamples& cell) {
  for (const auto& [key, wanted] : expect.path) {
    const bool of_one_arm = key.starts_with("A.") || key.starts_with("B.");
    const std::string name = of_one_arm ? key.substr(2) : key;
    for (const Sample* sample : cell.good) {
      if (of_one_arm && sample->arm != key[0]) continue;
      const auto ran = sample->path.find(name);
      if (ran == sample->path.end())
        return fmt::format("path '{}' should be {} and arm {} reports no such path; paths reported: {}", name, wanted, sample->arm,
                           fmt::join(sample->path, ", "));
      if (ran->second != wanted)
        return fmt::format("path '{}' should be {} and arm {} took {}; see why it fell back", name, wanted, sample->arm, ran->second);
    }
  }
  return "";
}

std::string not_different(const Expectations& expect, const CellSamples& cell) {
  for (const std::string& what : expect.differs) {
    const auto a = values_of(what, 'A', cell), b = values_of(what, 'B', cell);
    if (a.empty() || b.empty())
      return fmt::format("{} should differ between the arms and arm {} reports none", what, a.empty() ? 'A' : 'B');
    for (const std::string& value : a)
      if (b.contains(value))
        return fmt::format("{} should differ between the arms and is {} in both, so the knob did not take effect", what, value);
  }
  return "";
}

std::string unlike_conditions(const CellSamples& cell) {
  for (const SamplePair& pair : cell.pairs)
    if (pair.a->page_cache && pair.b->page_cache && pair.a->page_cache->state != pair.b->page_cache->state)
      return fmt::format("in pair {} the page cache was {} for A and {} for B, so they are not compared; give both arms the same page_cache, "
                         "cold or warm",
                         pair.a->pair, pair.a->page_cache->state, pair.b->page_cache->state);
  for (const Sample* sample : cell.good) {
    for (const std::string& flag : sample->flags) {
      if (flag.starts_with("throttled"))
        return fmt::format("sample {} ran on a throttled machine; cool it or raise cooldown_s", sample->position);
      if (flag.starts_with("impossible"))
        return fmt::format("sample {} reports an {} number; a bug in its timing is likelier than the speed", sample->position, flag);
    }
    const auto reused = sample->counters.find("reused_tokens");
    if (reused != sample->counters.end() && reused->second > 0)
      return fmt::format("sample {} took {} tokens from a prefix cache; every prompt must be fresh", sample->position, reused->second);
  }
  return "";
}

bool looks_inert(const Cell& cell, const CellSamples& samples) {
  if (cell.a.knobs == cell.b.knobs) return false;
  bool seen = false;
  for (const SamplePair& pair : samples.pairs) {
    if (pair.a->path != pair.b->path || pair.a->counters != pair.b->counters) return false;
    seen = seen || !pair.a->path.empty() || !pair.a->counters.empty();
  }
  return seen;
}

}  // namespace crossover
