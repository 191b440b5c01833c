// From samples to a verdict. Everything is computed from the raw samples here, so a result file can be judged again.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "bench/judge/crossing.h"
#include "bench/judge/stats.h"
#include "bench/noise/noise_floor.h"
#include "bench/sample.h"
#include "bench/scenario.h"

namespace crossover {

enum class Word { kFaster, kEquivalent, kInconclusive, kSlower, kInvalid };  // from best to worst

const char* word_text(Word word);
int word_exit_code(Word word);

struct MetricAnalysis {
  int pairs = 0;
  std::optional<CrossoverEstimate> estimate;  // absent where no pair has the metric or one order is missing
  std::optional<HodgesLehmann> robust;
  std::optional<double> mde;         // ln scale
  std::optional<double> p_adjusted;  // for the looks, then Holm: primaries over the cells, other metrics over the cell
  std::optional<NoiseFloor> noise;   // of this machine; absent when never measured
  std::optional<double> noise_floor; // at this number of pairs, ln scale
  double tau = 0;                    // ln scale: the larger of threshold and noise floor
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
  bool measured = false;                  // in both samples of a pair
  std::optional<double> shift;            // ln(B/A); absent where a time is 0
  std::optional<double> shift_s;          // of a time
  std::optional<double> p_adjusted;
  bool moved = false;
};

struct WaterfallStep {
  std::string phase;
  double delta_s = 0;                     // mean of B - A
  std::optional<Interval> interval_s;
};

struct GateResult {
  std::string gate;     // "path", "page_cache", ... (bench/judge/gates.h)
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
  std::vector<std::string> flags;         // what does not void the cell: cell_flags in bench/judge/gates.h
  int failed_a = 0, failed_b = 0;
  Word word = Word::kInconclusive;
  std::string reason;
};

struct Verdict {
  Word word = Word::kInconclusive;
  std::string reason;  // one sentence a person can act on
  std::vector<CellAnalysis> cells;
  std::vector<CurveCrossings> crossings;  // of a sweep over one numeric field, one for each curve
  double tau = 0;                         // of the primary, ln scale; the largest of the cells
  std::optional<double> noise_floor;      // of the primary, ln scale; the largest of the cells, absent where one was not measured
  std::string noise_floor_from;           // "not measured", or how and when
  double look_level = 0.05;               // significance level of each look; all intervals are at 1 - look_level
};

// Pairs with a failed or missing sample are left out. The same rules hold at every look that the scenario declares.
Verdict judge(const Scenario& scenario, const std::vector<Sample>& samples, const NoiseFloors& floors = {});

// No cell waits for more pairs, or one is INVALID, which more pairs would not mend: a run with a look ahead may stop.
bool is_decided(const Verdict& verdict);

struct CellSamples;
// ln(B/A) of the pairs in which both arms have the metric, negative where B is better.
std::vector<PairDifference> pair_differences(const Scenario& scenario, const CellSamples& cell, const std::string& metric);

}  // namespace crossover
