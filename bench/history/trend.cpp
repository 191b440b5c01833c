#include "bench/history/trend.h"

#include <fmt/format.h>

#include <map>
#include <tuple>

namespace crossover {

namespace {

auto series_of(const HistoryPoint& at) {
  return std::tie(at.scenario, at.scenario_hash, at.point.cell, at.machine, at.flags, at.point.page_cache, at.point.arm);
}

double mean_over(const std::vector<TrendBuild>& builds, std::size_t begin, std::size_t end) {
  double sum = 0;
  for (std::size_t i = begin; i < end; ++i) sum += builds[i].mean_ln;
  return sum / static_cast<double>(end - begin);
}

void find_changes(TrendSeries& series, const ChangePointOptions& options) {
  std::vector<double> means;
  for (const TrendBuild& build : series.builds) means.push_back(build.mean_ln);
  const std::vector<ChangePoint> found = change_points(means, options);
  const double sign = series.points.front().point.higher_is_better ? -1 : 1;
  for (std::size_t i = 0; i < found.size(); ++i) {
    const std::size_t begin = i == 0 ? 0 : found[i - 1].at, end = i + 1 < found.size() ? found[i + 1].at : means.size();
    const double change = mean_over(series.builds, found[i].at, end) - mean_over(series.builds, begin, found[i].at);
    series.changes.push_back({found[i].at, sign * change, found[i].p_value});
  }
}

}  // namespace

std::vector<TrendBuild> builds_of(const std::vector<HistoryPoint>& points) {
  std::vector<TrendBuild> builds;
  std::map<std::string, std::size_t> known;
  for (std::size_t i = 0; i < points.size(); ++i) {
    const std::string& build = points[i].point.build;
    const auto found = build.empty() ? known.end() : known.find(build);
    const std::size_t at = found == known.end() ? builds.size() : found->second;
    if (at == builds.size()) builds.push_back({points[i].label, {}, 0});
    if (!build.empty()) known[build] = at;
    builds[at].runs.push_back(i);
  }
  for (TrendBuild& build : builds) {
    for (const std::size_t run : build.runs) build.mean_ln += points[run].point.value_ln;
    build.mean_ln /= static_cast<double>(build.runs.size());
  }
  return builds;
}

std::vector<TrendSeries> trends(const std::vector<HistoryPoint>& points, const ChangePointOptions& options) {
  std::vector<TrendSeries> all;
  for (const HistoryPoint& point : points) {
    if (all.empty() || series_of(all.back().points.front()) != series_of(point)) all.emplace_back();
    all.back().points.push_back(point);
  }
  for (TrendSeries& series : all) {
    series.builds = builds_of(series.points);
    find_changes(series, options);
  }
  return all;
}

std::string series_title(const HistoryPoint& at) {
  const RunPoint& point = at.point;
  return printable(fmt::format("{}{} on {}, {}{}{}", at.scenario, point.cell.empty() ? "" : " [" + point.cell + "]", at.machine,
                               point.arm == "effect" ? "" : "arm ", point.arm, point.page_cache.empty() ? "" : ", page cache " + point.page_cache));
}

}  // namespace crossover
