#include "bench/history/compare.h"

#include <fmt/format.h>

#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "bench/commands/commands.h"
#include "bench/commands/run_options.h"
#include "bench/history/both_builds.h"
#include "bench/report/words.h"
#include "bench/result.h"
#include "bench/result_file.h"

namespace crossover::commands {

namespace {

using Json = nlohmann::ordered_json;

struct Options {
  std::filesystem::path base, next, history, plan;
  CompareOptions compare;
  std::vector<std::string> allow_unlike;
  std::string machine;
  bool json = false, all = false, report_only = false;
};

struct Loaded {
  Json result;
  RunRecord run;
};

Loaded load(const std::filesystem::path& file, const Options& options) {
  Json result = read_result(file, "compare");
  try {
    RunRecord run = make_run_record(result, {options.machine, ""});
    return {std::move(result), std::move(run)};
  } catch (const std::exception& error) {
    throw std::runtime_error(refused_result("compare", file, error.what()));
  }
}

// The file asked for must be there; without one the usual place may be empty.
std::unique_ptr<History> open_history(const Options& options) {
  if (!options.history.empty()) return std::make_unique<History>(options.history, /*create=*/false);
  const std::optional<std::filesystem::path> usual = usual_history_file();
  return usual && std::filesystem::exists(*usual) ? std::make_unique<History>(*usual, /*create=*/false) : nullptr;
}

Json percents(const Interval& interval) { return {percent(interval.low), percent(interval.high)}; }

Json json_of(const RunRecord& run, const std::filesystem::path& file) {
  Json json{{"file", file.string()}, {"scenario", run.scenario}, {"started_at", run.started_at}, {"machine", run.machine}, {"build", run.label()}};
  json["verdict"] = run.word;
  return json;
}

Json json_of(const ComparedPoint& point) {
  const bool effect = point.next.arm == "effect";
  Json json{{"cell", point.next.cell}, {"metric", point.next.metric}, {"arm", point.next.arm}, {"judged", point.judged}};
  const auto side = [&](const RunPoint& of) {
    Json one{{effect ? "effect_percent" : "value", effect ? percent(of.value_ln) : std::exp(of.value_ln)}, {"n", of.n}};
    if (of.sd_ln) one["sd_percent"] = percent(*of.sd_ln);
    if (of.interval_ln) one["interval_percent"] = percents(*of.interval_ln);
    return one;
  };
  json["base"] = side(point.base), json["new"] = side(point.next);
  json["difference_percent"] = percent(point.difference_ln);
  json["earlier_runs"] = point.earlier, json["earlier_builds"] = point.builds;
  if (!point.level_since.empty()) json["level_since_build"] = point.level_since;
  if (point.sd_ln) json["between_runs_sd_percent"] = percent(*point.sd_ln);
  if (point.change_ln) json["change_percent"] = percent(*point.change_ln);
  if (point.interval_ln) json["interval_percent"] = percents(*point.interval_ln);
  if (point.p_value) json["p_value"] = *point.p_value, json["p_adjusted"] = *point.p_adjusted;
  if (point.mde_ln) json["mde_percent"] = percent(*point.mde_ln);
  json["word"] = word_text(point.word);
  return json;
}

std::string value_text(const RunPoint& point) {
  if (point.arm == "effect") return fmt::format("{:+.2f} %", percent(point.value_ln));
  return report::number(std::exp(point.value_ln));
}

// Shares of a load or a pass are many; where one moved it is shown.
bool is_shown(const ComparedPoint& point, const Options& options) {
  const bool moved = point.word == Word::kFaster || point.word == Word::kSlower;
  return options.all || point.judged || moved || !report::is_part(point.next.metric);
}

void print_table(const Comparison& comparison, const Options& options) {
  std::size_t width = 6, hidden = 0;
  const auto name = [](const ComparedPoint& point) {
    return printable(point.next.cell.empty() ? point.next.metric : point.next.metric + " [" + point.next.cell + "]");
  };
  for (const ComparedPoint& point : comparison.points) width = std::max(width, is_shown(point, options) ? name(point).size() : 0);
  fmt::print("  {:{}}  {:6}  {:>10}  {:>10}  {:>10}  {:>20}  {}\n", "metric", width, "arm", "BASE", "NEW", "NEW/BASE", "NEW/before, 95 %", "word");
  for (const ComparedPoint& point : comparison.points) {
    if (!is_shown(point, options)) {
      ++hidden;
      continue;
    }
    const std::string interval =
        point.interval_ln ? fmt::format("{:+.2f} to {:+.2f} %", percent(point.interval_ln->low), percent(point.interval_ln->high)) : "";
    fmt::print("  {:{}}  {:6}  {:>10}  {:>10}  {:>+8.2f} %  {:>20}  {}{}\n", name(point), width, point.next.arm, value_text(point.base),
               value_text(point.next), percent(point.difference_ln), interval, word_text(point.word), point.judged ? " *" : "");
  }
  fmt::print("  * decides. Differences are time-like (negative = faster) and adjusted by Holm{}\n",
             hidden ? fmt::format("; {} more with --all", hidden) : "");
}

void print_text(const Comparison& comparison, const Loaded& base, const Loaded& next, const Options& options) {
  fmt::print("{}  {}\n  {}\n", word_text(comparison.word), printable(next.run.scenario), comparison.reason);
  for (const std::string& unlike : comparison.unlike) fmt::print("  unlike, and allowed to be: {}\n", unlike);
  fmt::print("  BASE  {}  build {}  {}\n", base.run.started_at, printable(base.run.label()), options.base.string());
  fmt::print("  NEW   {}  build {}  {}\n", next.run.started_at, printable(next.run.label()), options.next.string());
  print_table(comparison, options);
}

std::vector<std::string> remedy(const Comparison& comparison, const Loaded& base, const Loaded& next, const Options& options) {
  if (comparison.remedy_arm.empty()) return {};
  const std::string plan = options.plan.empty() ? "both.json" : options.plan.string();
  std::vector<std::string> lines;
  if (options.plan.empty())
    lines.push_back(fmt::format("crossover compare {} {} --arm {} --write-plan {}", shell_word(options.base.string()),
                                shell_word(options.next.string()), comparison.remedy_arm, plan));
  lines.push_back(both_builds_command(next.result, plan, base.run.label(), next.run.label()));
  return lines;
}

int run(const Options& options) {
  const Loaded base = load(options.base, options), next = load(options.next, options);
  const std::unique_ptr<History> history = open_history(options);
  const Comparison comparison = compare(base.run, next.run, history.get(), options.compare);
  if (!options.plan.empty()) {
    const std::string arm = !options.compare.arm.empty() ? options.compare.arm : comparison.remedy_arm.empty() ? "A" : comparison.remedy_arm;
    write_whole_file(options.plan, both_builds_scenario(next.result, arm));
  }
  const std::vector<std::string> to_decide = remedy(comparison, base, next, options);
  const int code = word_exit_code(comparison.word);
  if (options.json) {
    Json json{{"schema", "crossover.comparison/1"}, {"base", json_of(base.run, options.base)}, {"new", json_of(next.run, options.next)},
              {"verdict", {{"word", word_text(comparison.word)}, {"reason", comparison.reason}, {"exit_code", code}}},
              {"threshold_percent", percent(comparison.tau_ln)}, {"unlike", comparison.unlike}, {"to_decide", to_decide}};
    for (const ComparedPoint& point : comparison.points) json["metrics"].push_back(json_of(point));
    fmt::print("{}\n", json.dump(1, ' ', false, Json::error_handler_t::replace));
  } else {
    print_text(comparison, base, next, options);
    for (const std::string& line : to_decide) fmt::print("  {} {}\n", &line == to_decide.data() ? "to decide:" : "          ", line);
  }
  return options.report_only ? 0 : code;
}

constexpr const char* kAbout =
    "Two runs of one scenario, last night's and tonight's: has anything become faster or slower?\n\n"
    "Each arm is held against itself: A tonight against A last night, and B against B; the verdict is the worst of their\n"
    "primaries, over all cells. The difference of the arms (arm `effect`) is shown too and decides nothing: it grows when A\n"
    "alone becomes faster. How far runs scatter is taken from the history (crossover history add): with 8 or more earlier runs\n"
    "like BASE (scenario, machine, build flags, page cache; at most the 60 nearest, none from before or after the level changed)\n"
    "NEW is FASTER or SLOWER outside the 95 % prediction interval for one more run and beyond the threshold of the scenario.\n"
    "With fewer the word is INCONCLUSIVE, and the command is printed that runs both builds in one plan.";

}  // namespace

void add_compare(Command app, int& exit_code) {
  const auto options = std::make_shared<Options>();
  const Command command = app.add_subcommand("compare", "Two result files, last night's and tonight's: has anything become faster or slower?");
  command.footer(std::string(kAbout) + "\n\nExample: crossover compare last_night/result.json tonight/result.json");
  command.add_option("base", options->base, "the earlier result.json").required().type_name("BASE.json");
  command.add_option("new", options->next, "the later one").required().type_name("NEW.json");
  command.add_option("--history", options->history, "the SQLite file; default $XDG_DATA_HOME/crossover/history.sqlite where it is").type_name("FILE");
  add_list_option(command, "--metric", options->compare.metrics, "judge this metric instead of the primary; may be given again", "M");
  command.add_option("--arm", options->compare.arm, "compare this arm alone").one_of({"A", "B"});
  command.add_option("--allow-unlike", options->allow_unlike, "compare though these differ: scenario, machine, flags, page-cache")
      .type_name("WHAT[,WHAT]").separated_by(',').one_of({"scenario", "machine", "flags", "page-cache"})
      .one_each_time();
  command.add_option("--machine", options->machine, "both ran on the machine that the history knows under this name").type_name("NAME");
  command.add_option("--write-plan", options->plan, "write the scenario with both builds in it, which decides what two files cannot").type_name("FILE");
  command.add_flag("--json", options->json, "as JSON");
  command.add_flag("--all", options->all, "show every metric, shares of a load or a pass too");
  command.add_flag("--report-only", options->report_only, "exit 0 for every verdict; errors stay 4");
  command.callback([options, &exit_code] {
    options->compare.allow_unlike = {options->allow_unlike.begin(), options->allow_unlike.end()};
    exit_code = run(*options);
  });
}

}  // namespace crossover::commands
