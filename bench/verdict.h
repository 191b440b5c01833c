// From samples to a verdict. Everything is computed from the raw samples here, so a result file can be judged again.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "bench/sample.h"
#include "bench/scenario.h"
#include "bench/stats.h"

namespace crossover {

enum class Word { kFaster, kEquivalent, kInconclusive, kSlower, kInvalid };  // from best to worst

const char* word_text(Word word);
int word_exit_code(Word word);

struct MetricAnalysis {
  int pairs = 0;
  std::optional<CrossoverEstimate> estimate;  // absent where no pair has the metric or one order is missing
  std::optional<HodgesLehmann> robust;
  std::optional<double> mde;         // ln scale
  std::optional<double> p_adjusted;  // Holm: primaries over the cells, other metrics over the cell
  std::string word;                  // as the numbers alone say it; empty without an interval
};

struct OutputAnalysis {
  std::string gate;                       // "pass", "fail", "inconclusive" (A does not repeat itself) or "ignored"
  std::optional<bool> identical;          // over all pairs
  std::optional<std::int64_t> first_divergence;  // smallest token index at which a pair differs
  std::optional<double> logit_gap;        // between the two choices where a pair first differs: of the pair where it is largest
  std::optional<double> logit_nmse;       // largest over the pairs
  std::string trouble;                    // one sentence where the gate is not passed
};

struct ControlAnalysis {
  std::string metric;
  std::optional<double> shift;            // ln(B/A)
  std::optional<double> p_adjusted;
  bool moved = false;
};

struct WaterfallStep {
  std::string phase;
  double delta_s = 0;                     // mean of B - A
  std::optional<Interval> interval_s;
};

struct GateResult {
  std::string gate;     // "path", "page_cache", ... (bench/gates.h)
  std::string state;    // "pass", "fail", "not asked", "not recorded"; for outputs OutputAnalysis::gate
  std::string finding;  // of one that failed: what was found and what to do
};

struct CellAnalysis {
  std::string name;
  std::map<std::string, MetricAnalysis> metrics;
  OutputAnalysis outputs;
  std::vector<ControlAnalysis> controls;
  std::vector<WaterfallStep> waterfall;
  std::optional<double> residual_s;       // of the primary, not explained by phases
  std::vector<GateResult> gates;          // in the order in which they speak; the first that failed is the reason
  std::vector<std::string> flags;         // what does not void the cell: cell_flags in bench/gates.h
  int failed_a = 0, failed_b = 0;
  Word word = Word::kInconclusive;
  std::string reason;
};

struct Verdict {
  Word word = Word::kInconclusive;
  std::string reason;  // one sentence a person can act on
  std::vector<CellAnalysis> cells;
  double tau = 0;      // ln scale
};

// Pairs with a failed or missing sample are left out. noise_floor is on the ln scale, absent when never measured.
Verdict judge(const Scenario& scenario, const std::vector<Sample>& samples, std::optional<double> noise_floor = std::nullopt);

}  // namespace crossover
