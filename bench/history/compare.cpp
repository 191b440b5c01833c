#include "bench/history/compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <map>
#include <stdexcept>

#include "bench/history/change_points.h"
#include "bench/history/trend.h"

namespace crossover {

namespace {

constexpr double kAlpha = 0.05;

bool allowed(const CompareOptions& options, const char* what) { return options.allow_unlike.contains(what); }

const RunPoint* find(const RunRecord& run, const RunPoint& like) {
  for (const RunPoint& point : run.points)
    if (point.cell == like.cell && point.metric == like.metric && point.arm == like.arm) return &point;
  return nullptr;
}

// Cells whose files lay in memory in another way.
std::string unlike_page_cache(const RunRecord& base, const RunRecord& next) {
  for (const RunPoint& point : next.points) {
    const RunPoint* other = find(base, point);
    if (point.arm == "effect" || !other || other->page_cache == point.page_cache) continue;
    const auto state = [](const RunPoint& of) { return of.page_cache.empty() ? std::string("not known") : of.page_cache; };
    return fmt::format("before the samples of arm {}{} it was {} in BASE and {} in NEW", point.arm,
                       point.cell.empty() ? "" : " (" + printable(point.cell) + ")", state(*other), state(point));
  }
  return "";
}

// By the names of kUnlike; what is alike has an empty text.
std::vector<std::pair<const char*, std::string>> unlike_things(const RunRecord& base, const RunRecord& next) {
  std::string machine;
  if (base.machine != next.machine) {
    machine = differences(base.hardware, next.hardware);
    if (machine.empty()) machine = printable(fmt::format("it is called {} in BASE and {} in NEW", base.machine, next.machine));
  }
  return {{"scenario", differences(base.asked, next.asked)},
          {"machine", machine},
          {"flags", differences(base.flags, next.flags)},
          {"page-cache", unlike_page_cache(base, next)}};
}

std::vector<std::string> check_alike(const RunRecord& base, const RunRecord& next, const CompareOptions& options) {
  std::string refused, names;
  std::vector<std::string> tolerated;
  for (const auto& [name, how] : unlike_things(base, next)) {
    if (how.empty()) continue;
    if (allowed(options, name)) {
      tolerated.push_back(fmt::format("{}: {}", name, how));
    } else {
      refused += fmt::format("{}unlike {}: {}", refused.empty() ? "" : "; ", name, how);
      names += (names.empty() ? "" : ",") + std::string(name);
    }
  }
  if (!refused.empty())
    throw std::runtime_error(fmt::format("cannot compare the two runs, {}; measure both alike, or say --allow-unlike {}", refused, names));
  return tolerated;
}

bool is_judged(const RunPoint& point, const RunRecord& next, const CompareOptions& options) {
  if (point.arm == "effect") return false;  // it moves against the reader where A alone became faster
  if (options.metrics.empty()) return point.metric == next.primary;
  return std::find(options.metrics.begin(), options.metrics.end(), point.metric) != options.metrics.end();
}

HistoryPoint as_history(const RunRecord& run, const RunPoint& point) {
  return {0, run.scenario, run.scenario_hash(), run.kind, run.machine, run.hardware, run.flags, run.label(), run.started_at, run.plan_hash, point};
}

bool same_run(const HistoryPoint& at, const RunRecord& run) { return at.plan_hash == run.plan_hash && at.started_at == run.started_at; }

// BASE and the runs before the later of the two files that are like it, by time; NEW and, unless BASE is of it, NEW's build left out.
std::vector<HistoryPoint> earlier_runs(const std::vector<HistoryPoint>& stored, const RunRecord& base, const RunRecord& next,
                                       const ComparedPoint& compared) {
  const HistoryPoint own = as_history(base, compared.base);
  const std::string& last = std::max(base.started_at, next.started_at);
  std::vector<HistoryPoint> found;
  bool has_base = false;
  for (const HistoryPoint& at : stored) {
    const RunPoint& point = at.point;
    if (at.scenario_hash != own.scenario_hash || at.machine != own.machine || at.flags != own.flags) continue;
    if (point.cell != own.point.cell || point.arm != own.point.arm || point.page_cache != own.point.page_cache) continue;
    if (same_run(at, next) || at.started_at > last) continue;
    const bool is_base = same_run(at, base);
    const bool of_next = !point.build.empty() && point.build == compared.next.build && point.build != compared.base.build;
    if (of_next && !is_base) continue;
    has_base = has_base || is_base;
    found.push_back(at);
  }
  if (!has_base) {
    const auto place = std::upper_bound(found.begin(), found.end(), own,
                                        [](const HistoryPoint& x, const HistoryPoint& y) { return x.started_at < y.started_at; });
    found.insert(place, own);
  }
  constexpr std::ptrdiff_t kMost = kMostEarlierRuns;
  const auto at_base = std::find_if(found.begin(), found.end(), [&](const HistoryPoint& at) { return same_run(at, base); });
  const auto end = found.end() - at_base > kMost / 2 ? at_base + kMost / 2 : found.end();
  const auto begin = end - found.begin() > kMost ? end - kMost : found.begin();
  return {begin, end};
}

// Those of them that are at BASE's level: earlier runs from before or after a change say nothing of it.
std::vector<double> level_of_base(const std::vector<HistoryPoint>& earlier, const RunRecord& base, ComparedPoint& compared) {
  const std::vector<TrendBuild> builds = builds_of(earlier);
  std::vector<double> means;
  std::size_t own = 0;
  for (std::size_t i = 0; i < builds.size(); ++i) {
    means.push_back(builds[i].mean_ln);
    for (const std::size_t run : builds[i].runs)
      if (same_run(earlier[run], base)) own = i;
  }
  std::size_t begin = 0, end = builds.size();
  for (const ChangePoint& change : change_points(means)) {
    if (change.at <= own) begin = change.at;
    else end = std::min(end, change.at);
  }
  if (begin > 0) compared.level_since = builds[begin].label;
  std::vector<double> values;
  for (std::size_t i = begin; i < end; ++i)
    for (const std::size_t run : builds[i].runs) values.push_back(earlier[run].point.value_ln);
  compared.earlier = static_cast<int>(values.size());
  compared.builds = static_cast<int>(end - begin);
  return values;
}

void predict(const std::vector<double>& level, double tau, ComparedPoint& compared) {
  if (level.size() < 2) return;
  const auto n = static_cast<double>(level.size());
  const int df = static_cast<int>(level.size()) - 1;
  double sum = 0, squares = 0;
  for (const double value : level) sum += value;
  const double centre = sum / n;
  for (const double value : level) squares += (value - centre) * (value - centre);
  const double sd = std::sqrt(squares / df), se = sd * std::sqrt(1 + 1 / n);
  const double change = (compared.next.higher_is_better ? -1 : 1) * (compared.next.value_ln - centre);
  const double half = student_t_quantile(0.975, df) * se;
  compared.centre_ln = centre, compared.sd_ln = sd, compared.change_ln = change;
  compared.interval_ln = Interval{change - half, change + half};
  compared.mde_ln = minimum_detectable_effect(se, df, tau);
  compared.p_value = se > 0 ? 2 * boost::math::cdf(boost::math::complement(boost::math::students_t(df), std::abs(change) / se))
                     : change == 0 ? 1.0 : 0.0;
  compared.p_adjusted = compared.p_value;
}

void give_words(std::vector<ComparedPoint*> family, double tau) {
  std::vector<double> p;
  std::erase_if(family, [](const ComparedPoint* point) { return !point->p_value; });
  for (const ComparedPoint* point : family) p.push_back(*point->p_value);
  const std::vector<double> adjusted = holm(p);
  for (std::size_t i = 0; i < family.size(); ++i) {
    ComparedPoint& point = *family[i];
    point.p_adjusted = adjusted[i];
    if (point.earlier < kFewestEarlierRuns) continue;
    const double change = *point.change_ln;
    const int df = point.earlier - 1;
    const double half = student_t_quantile(0.95, df) * *point.sd_ln * std::sqrt(1 + 1.0 / point.earlier);
    if (adjusted[i] < kAlpha && std::abs(change) > tau) point.word = change < 0 ? Word::kFaster : Word::kSlower;
    else if (std::abs(change) + half < tau) point.word = Word::kEquivalent;
  }
}

std::string place(const ComparedPoint& point) {
  return printable(fmt::format("{} of arm {}{}", point.next.metric, point.next.arm, point.next.cell.empty() ? "" : " (" + point.next.cell + ")"));
}

std::string counted(const ComparedPoint& point) {
  const std::string since = point.level_since.empty() ? "" : fmt::format(" since the level changed with {}", printable(point.level_since));
  return fmt::format("{} earlier runs of {} builds{}", point.earlier, point.builds, since);
}

std::string reason_of(const ComparedPoint& point, double tau) {
  if (point.earlier < kFewestEarlierRuns)
    return fmt::format("{} differs by {:+.2f} % from BASE, but there {} {} earlier run{} like BASE{} and {} are needed to know how far runs "
                       "scatter: run both builds in one plan, or add results to the history",
                       place(point), percent(point.difference_ln), point.earlier == 1 ? "is" : "are", point.earlier,
                       point.earlier == 1 ? "" : "s",
                       point.level_since.empty() ? "" : fmt::format(" since its level changed with {}", printable(point.level_since)),
                       kFewestEarlierRuns);
  const std::string change = fmt::format("{:.2f} %", std::abs(percent(*point.change_ln)));
  const std::string numbers = fmt::format("95 % interval {:+.2f} to {:+.2f} %, {}", percent(point.interval_ln->low),
                                          percent(point.interval_ln->high), counted(point));
  if (point.word == Word::kFaster || point.word == Word::kSlower)
    return fmt::format("NEW is {} {} than before in {} ({})", change, point.word == Word::kFaster ? "faster" : "slower", place(point), numbers);
  if (point.word == Word::kEquivalent)
    return fmt::format("NEW equals what was before in {} within {:.2f} % ({}; a change of {:.2f} % would have been found)", place(point),
                       percent(tau), numbers, percent(*point.mde_ln));
  return fmt::format("{} changed by {:+.2f} % ({}; smallest change that could be found {:.2f} %): run both builds in one plan", place(point),
                     percent(*point.change_ln), numbers, percent(*point.mde_ln));
}

// Between words that are equally bad the one with the larger difference speaks.
const ComparedPoint& worst_of(const std::vector<ComparedPoint>& points) {
  const auto size = [](const ComparedPoint& p) { return std::abs(p.change_ln.value_or(p.difference_ln)); };
  const ComparedPoint* worst = nullptr;
  for (const ComparedPoint& point : points)
    if (point.judged && (!worst || point.word > worst->word || (point.word == worst->word && size(point) > size(*worst)))) worst = &point;
  return *worst;
}

std::vector<ComparedPoint> common_points(const RunRecord& base, const RunRecord& next, const CompareOptions& options) {
  std::vector<ComparedPoint> points;
  for (const RunPoint& point : next.points) {
    const RunPoint* other = find(base, point);
    if (!other || (!options.arm.empty() && point.arm != options.arm)) continue;
    ComparedPoint compared;
    compared.base = *other, compared.next = point, compared.judged = is_judged(point, next, options);
    compared.difference_ln = (point.higher_is_better ? -1 : 1) * (point.value_ln - other->value_ln);
    points.push_back(std::move(compared));
  }
  std::stable_partition(points.begin(), points.end(), [](const ComparedPoint& point) { return point.judged; });
  return points;
}

void check_metrics(const std::vector<ComparedPoint>& points, const RunRecord& next, const CompareOptions& options) {
  std::vector<std::string> wanted = options.metrics;
  if (wanted.empty()) wanted.push_back(next.primary);
  for (const std::string& metric : wanted) {
    const bool there = std::any_of(points.begin(), points.end(), [&](const ComparedPoint& p) { return p.judged && p.next.metric == metric; });
    if (there) continue;
    std::set<std::string> names;
    for (const ComparedPoint& point : points) names.insert(point.next.metric);
    throw std::invalid_argument(printable(fmt::format("the two runs have no metric {} in common{}; they have {}", metric,
                                                      options.arm.empty() ? "" : " in arm " + options.arm, fmt::join(names, ", "))));
  }
}

// A file that names no build of what it measured may be known to the history.
void name_builds(RunRecord& run, History& history) {
  for (RunPoint& point : run.points)
    if (point.build.empty()) point.build = history.build_of(run, point.arm);
}

}  // namespace

Comparison compare(const RunRecord& base_file, const RunRecord& next_file, History* history, const CompareOptions& options) {
  RunRecord base = base_file, next = next_file;
  Comparison out;
  out.unlike = check_alike(base, next, options);
  out.tau_ln = next.tau_ln;
  if (history) name_builds(base, *history), name_builds(next, *history);
  out.points = common_points(base, next, options);
  check_metrics(out.points, next, options);
  std::map<std::string, std::vector<HistoryPoint>> stored;  // by metric
  std::vector<ComparedPoint*> judged;
  std::map<std::string, std::vector<ComparedPoint*>> others;  // by cell
  for (ComparedPoint& point : out.points) {
    const auto [at, first] = stored.try_emplace(point.next.metric);
    if (history && first) at->second = history->points(point.next.metric, {base.scenario, base.machine, {}});
    predict(level_of_base(earlier_runs(at->second, base, next, point), base, point), out.tau_ln, point);
    (point.judged ? judged : others[point.next.cell]).push_back(&point);
  }
  give_words(judged, out.tau_ln);
  for (const auto& [cell, points] : others) give_words(points, out.tau_ln);
  const ComparedPoint& worst = worst_of(out.points);
  out.word = worst.word, out.reason = reason_of(worst, out.tau_ln);
  for (const auto& [run, name] : {std::pair(&base, "BASE"), std::pair(&next, "NEW")})
    if (run->word == word_text(Word::kInvalid))
      out.word = Word::kInvalid, out.reason = printable(fmt::format("{} is INVALID ({}), so its numbers are none to compare", name, run->reason));
  if (out.word == Word::kInconclusive) out.remedy_arm = worst.next.arm;
  return out;
}

}  // namespace crossover
