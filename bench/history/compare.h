// Two result files of two runs, last night's and tonight's. The unit is the run: samples of one night share its luck, so how far runs
// scatter is taken from history, and tonight's mean is held against a prediction interval for the mean of one more run
// (Hahn & Meeker 1991, "Statistical Intervals", section 4.7): centre +- t_{n-1} s sqrt(1 + 1/n) over n earlier runs.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "bench/history/history.h"
#include "bench/history/run_record.h"
#include "bench/judge/verdict.h"

namespace crossover {

inline constexpr int kFewestEarlierRuns = 8;
inline constexpr int kMostEarlierRuns = 60;  // nearest to BASE: what a machine did long ago says little about tonight

struct CompareOptions {
  std::vector<std::string> metrics;  // that the verdict is about; empty = the primary
  std::string arm;                   // "A" or "B"; empty = both
  std::set<std::string> allow_unlike;  // of kUnlike
};

inline constexpr const char* kUnlike[] = {"scenario", "machine", "flags", "page-cache"};

// A metric of a cell in one arm in both files. All ln values of differences are time-like: negative = NEW faster.
struct ComparedPoint {
  RunPoint base, next;
  bool judged = false;            // one that the verdict is about
  double difference_ln = 0;       // NEW against BASE, alone
  int earlier = 0;                // runs at BASE's level, BASE among them; NEW never
  int builds = 0;                 // that these runs are of
  std::string level_since;        // label of the build with which BASE's level began, where earlier runs had another
  // Below need two earlier runs, the words kFewestEarlierRuns.
  std::optional<double> centre_ln, sd_ln;  // of their means, in the metric's own direction
  std::optional<double> change_ln;         // NEW against the centre
  std::optional<Interval> interval_ln;     // of the change, 95 %: beyond 0 is what one more run of the same would not show
  std::optional<double> p_value, p_adjusted, mde_ln;
  Word word = Word::kInconclusive;
};

struct Comparison {
  std::vector<ComparedPoint> points;  // judged ones first
  std::vector<std::string> unlike;    // what differs and was allowed to
  Word word = Word::kInconclusive;
  std::string reason;                 // one sentence a person can act on
  double tau_ln = 0;
  std::string remedy_arm;             // whose settings a plan with both builds should take, where the word is INCONCLUSIVE; else empty
};

// `history` may be null. std::runtime_error: the runs are unlike in something that was not allowed, all of it named;
// std::invalid_argument: they have no such metric in common.
Comparison compare(const RunRecord& base, const RunRecord& next, History* history, const CompareOptions& options = {});

}  // namespace crossover
