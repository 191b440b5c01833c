// A metric over time: one series for each scenario, cell, machine, build flags, page-cache state and arm; and where it changed.
#pragma once

#include <string>
#include <vector>

#include "bench/history/change_points.h"
#include "bench/history/history.h"

namespace crossover {

// Runs of one build are repeats of it: they count as one value, the mean, at the place of the first of them.
struct TrendBuild {
  std::string label;               // "not named" where the file could not know it: then a run is a build of its own
  std::vector<std::size_t> runs;   // indices into the series' points
  double mean_ln = 0;
};

struct TrendChange {
  std::size_t build;    // the first one of the new level
  double change_ln;     // of the mean over builds, from the level before; time-like: negative = faster
  double p_value;
};

struct TrendSeries {
  std::vector<HistoryPoint> points;  // by time; the first one tells what the series is of
  std::vector<TrendBuild> builds;    // by their first runs
  std::vector<TrendChange> changes;
};

std::vector<TrendBuild> builds_of(const std::vector<HistoryPoint>& points);

// `points` as History::points gives them.
std::vector<TrendSeries> trends(const std::vector<HistoryPoint>& points, const ChangePointOptions& options);

// "scenario [cell] on machine, arm A, warm".
std::string series_title(const HistoryPoint& point);

}  // namespace crossover
