#include "bench/history/history.h"

#include <fmt/format.h>

#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "bench/commands/commands.h"
#include "bench/history/trend.h"
#include "bench/json_text.h"
#include "bench/report/words.h"
#include "bench/result_file.h"
#include "engine/knobs.h"

namespace crossover::commands {

namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kTextLimitBytes = std::size_t{512} << 20;  // as read_result

struct Options {
  std::filesystem::path file;  // empty = the default
  std::vector<std::filesystem::path> results;
  RecordNames names;
  HistoryFilter filter;
  std::int64_t id = 0;
  std::string metric, arm;
  double false_alarms_percent = 5;
  bool json = false;

  std::filesystem::path history() const {
    if (!file.empty()) return file;
    if (const auto usual = usual_history_file()) return *usual;
    throw std::runtime_error("asked for the history, but neither XDG_DATA_HOME nor HOME is set; name its file with --file");
  }
};

void print(const Json& json) { fmt::print("{}\n", json.dump(1, ' ', false, Json::error_handler_t::replace)); }

void add(const Options& options) {
  std::vector<std::pair<RunRecord, std::string>> runs;  // all are checked before the first is added
  for (const std::filesystem::path& file : options.results) {
    const Json result = read_result(file, "add");
    std::string text = read_text_file(file.string(), kTextLimitBytes);
    try {
      runs.emplace_back(make_run_record(result, options.names), std::move(text));
    } catch (const std::invalid_argument& error) {
      throw;
    } catch (const std::exception& error) {
      throw std::runtime_error(refused_result("add", file, error.what()));
    }
  }
  History history(options.history(), /*create=*/true);
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const auto [id, added] = history.add(runs[i].first, runs[i].second);
    const char* what = added == Added::kNew ? "added" : added == Added::kThere ? "was there already" : "replaced by its continuation";
    fmt::print("{:>6}  {}  {}  {}\n", id, printable(runs[i].first.scenario), runs[i].first.started_at, what);
  }
}

Json json_of(const HistoryRun& row) {
  const RunRecord& run = row.run;
  Json json{{"id", row.id},           {"started_at", run.started_at}, {"scenario", run.scenario}, {"scenario_hash", run.scenario_hash()},
            {"machine", run.machine}, {"hardware", Json::parse(run.hardware)}, {"build", run.label()}, {"version", run.version}};
  if (!run.compiler.empty()) json["compiler"] = run.compiler;
  if (!run.flags.empty()) json["flags"] = Json::parse(run.flags);
  json["plan_hash"] = run.plan_hash, json["samples"] = run.samples, json["primary"] = run.primary;
  json["verdict"] = {{"word", run.word}, {"reason", run.reason}};
  return json;
}

void list(const Options& options) {
  History history(options.history(), /*create=*/false);
  const std::vector<HistoryRun> rows = history.list(options.filter);
  if (options.json) {
    Json json = Json::array();
    for (const HistoryRun& row : rows) json.push_back(json_of(row));
    return print(json);
  }
  std::size_t width = 8;
  for (const HistoryRun& row : rows) width = std::max(width, row.run.scenario.size());
  fmt::print("{:>6}  {:24}  {:{}}  {:12}  {:18}  {}\n", "id", "started_at", "scenario", width, "machine", "build", "verdict");
  for (const HistoryRun& row : rows)
    fmt::print("{:>6}  {:24}  {:{}}  {:12}  {:18}  {}\n", row.id, row.run.started_at, printable(row.run.scenario), width,
               printable(row.run.machine), printable(row.run.label()), row.run.word);
}

void show(const Options& options) {
  History history(options.history(), /*create=*/false);
  const std::string text = history.result_text(options.id);
  std::fwrite(text.data(), 1, text.size(), stdout);
}

Json json_of(const TrendSeries& series, const ChangePointOptions& chances) {
  const HistoryPoint& first = series.points.front();
  const bool effect = first.point.arm == "effect";
  Json json{{"scenario", first.scenario}, {"scenario_hash", first.scenario_hash}, {"cell", first.point.cell}, {"machine", first.machine},
            {"hardware", Json::parse(first.hardware)}, {"arm", first.point.arm}, {"metric", first.point.metric}};
  if (!first.flags.empty()) json["flags"] = Json::parse(first.flags);
  if (!first.point.page_cache.empty()) json["page_cache"] = first.point.page_cache;
  if (!effect) json["better"] = first.point.higher_is_better ? "higher" : "lower";
  for (const HistoryPoint& at : series.points) {
    Json run{{"id", at.id}, {"started_at", at.started_at}, {"build", at.label}, {"n", at.point.n}};
    run[effect ? "effect_percent" : "value"] = effect ? percent(at.point.value_ln) : std::exp(at.point.value_ln);
    if (at.point.sd_ln) run["sd_percent"] = percent(*at.point.sd_ln);
    if (at.point.interval_ln) run["interval_percent"] = {percent(at.point.interval_ln->low), percent(at.point.interval_ln->high)};
    json["runs"].push_back(std::move(run));
  }
  json["builds"] = series.builds.size();
  json["changes"] = Json::array();
  for (const TrendChange& change : series.changes) {
    const TrendBuild &before = series.builds[change.build - 1], &after = series.builds[change.build];
    const HistoryPoint& at = series.points[after.runs.front()];
    json["changes"].push_back({{"run", at.id}, {"started_at", at.started_at}, {"build", after.label}, {"build_before", before.label},
                               {"change_percent", percent(change.change_ln)}, {"p_value", change.p_value}});
  }
  json["change_points"] = {{"method", "E-divisive"}, {"false_alarm_percent", 100 * chances.false_alarms},
                           {"permutations", chances.permutations}, {"seed", chances.seed},
                           {"fewest_builds", fewest_values(chances.false_alarms)}};
  return json;
}

void print_series(const TrendSeries& series, const ChangePointOptions& chances) {
  const HistoryPoint& first = series.points.front();
  const bool effect = first.point.arm == "effect";
  fmt::print("{}: {}{}\n", series_title(first), printable(first.point.metric),
             effect ? " of B against A (negative = B faster)" : first.point.higher_is_better ? " (higher is better)" : " (lower is better)");
  std::vector<const TrendChange*> change_at(series.points.size());
  for (const TrendChange& change : series.changes) change_at[series.builds[change.build].runs.front()] = &change;
  for (std::size_t i = 0; i < series.points.size(); ++i) {
    const HistoryPoint& at = series.points[i];
    const std::string value = effect ? fmt::format("{:+.2f} %", percent(at.point.value_ln)) : report::number(std::exp(at.point.value_ln));
    const std::string spread = at.point.sd_ln ? fmt::format("sd {:.2f} %", percent(*at.point.sd_ln)) : "";
    fmt::print("{:>6}  {}  {:18}  {:>10}  {:3} {}  {:10} {}\n", at.id, at.started_at, printable(at.label), value,
               at.point.n, effect ? "pairs  " : "samples", spread,
               change_at[i] ? report::change(percent(change_at[i]->change_ln), first.point.metric) + " from here" : "");
  }
  for (const TrendChange& change : series.changes) {
    const TrendBuild &before = series.builds[change.build - 1], &after = series.builds[change.build];
    fmt::print("  changed with build {} (run {}; before it came {}): {}, p = {:.3f}\n", printable(after.label),
               series.points[after.runs.front()].id, printable(before.label),
               report::change(percent(change.change_ln), first.point.metric), change.p_value);
  }
  const int fewest = fewest_values(chances.false_alarms);
  if (static_cast<int>(series.builds.size()) < fewest)
    fmt::print("  {} builds: too few for a change to be found, {} are needed\n", series.builds.size(), fewest);
  else if (series.changes.empty())
    fmt::print("  no change found in {} builds\n", series.builds.size());
}

void trend(const Options& options) {
  History history(options.history(), /*create=*/false);
  std::vector<HistoryPoint> points = history.points(options.metric, options.filter);
  if (!options.arm.empty()) std::erase_if(points, [&](const HistoryPoint& at) { return at.point.arm != options.arm; });
  if (points.empty()) {
    const std::string guess = nearest(options.metric, history.metrics());
    throw std::invalid_argument(fmt::format("no run in {} has the metric {} as asked{}", options.history().string(), options.metric,
                                            guess.empty() || guess == options.metric ? "; see crossover history list" : "; did you mean " + guess + "?"));
  }
  const ChangePointOptions chances{options.false_alarms_percent / 100, 999, 1};
  const std::vector<TrendSeries> all = trends(points, chances);
  if (options.json) {
    Json json = Json::array();
    for (const TrendSeries& series : all) json.push_back(json_of(series, chances));
    return print(json);
  }
  for (const TrendSeries& series : all) print_series(series, chances), fmt::print("\n");
  fmt::print("changes: E-divisive over the means of builds (a build's runs are repeats of it), {} permutations, seed {}; where nothing changed\n"
             "a series shows one in {:g} % of the cases, so {} series are expected to show {:.2g}\n",
             chances.permutations, chances.seed, options.false_alarms_percent, all.size(),
             static_cast<double>(all.size()) * chances.false_alarms);
}

void add_filters(Command command, Options& options) {
  command.add_option("--scenario", options.filter.scenario, "only runs of this scenario").type_name("NAME");
  command.add_option("--machine", options.filter.machine, "only runs on this machine: its id, or the name it was added under").type_name("ID");
  command.add_option("--since", options.filter.since, "only runs that started at this UTC time or later").type_name("2026-11-21[T06:00]");
  command.add_flag("--json", options.json, "as JSON");
}

Command subcommand(Command history, const std::shared_ptr<Options>& options, const char* name, const char* what, const char* example) {
  const Command command = history.add_subcommand(name, what);
  command.footer(std::string("Example: ") + example);
  command.add_option("--file", options->file, "the SQLite file; default $XDG_DATA_HOME/crossover/history.sqlite").type_name("FILE");
  return command;
}

}  // namespace

void add_history(Command app, int&) {
  const auto options = std::make_shared<Options>();
  const Command history = app.add_subcommand("history", "Results over time in one SQLite file: add, list, show, trend");
  history.require_subcommand();
  history.footer("Example: crossover history add crossover-out/demo_decode/*/result.json && crossover history trend decode.tokens_per_s");
  Command command = subcommand(history, options, "add", "Keep result files; one that is there already is not added again",
                                 "crossover history add result.json");
  command.add_option("results", options->results, "result.json of crossover run, one or several").required().type_name("RESULT.json");
  command.add_option("--machine", options->names.machine, "the name of the machine, where the file's description would tell two apart that are one")
      .type_name("NAME");
  command.add_option("--commit", options->names.commit, "of the program that was measured, where that is not this build of crossover")
      .type_name("COMMIT");
  command.callback([options] { add(*options); });
  command = subcommand(history, options, "list", "Every run, by time", "crossover history list --scenario demo_decode --since 2026-11-01");
  add_filters(command, *options);
  command.callback([options] { list(*options); });
  command = subcommand(history, options, "show", "A result as it was added", "crossover history show 12 > result.json");
  command.add_option("id", options->id, "of the run, from list").required().type_name("ID");
  command.callback([options] { show(*options); });
  command = subcommand(history, options, "trend", "A metric over time, per scenario and machine, and the builds with which it changed",
                       "crossover history trend load.total_s --scenario demo_cold_load --arm A");
  command.add_option("metric", options->metric, "its name, as in the result files").required().type_name("METRIC");
  add_filters(command, *options);
  command.add_option("--arm", options->arm, "A, B, or effect: the difference of the two; default all three")
      .one_of({"A", "B", "effect"});
  command.add_option("--false-alarms", options->false_alarms_percent, "share of the series without a change that may show one")
      .type_name("PERCENT").range(0.2, 50.0).show_default();
  command.callback([options] { trend(*options); });
}

}  // namespace crossover::commands
