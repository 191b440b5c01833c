#include "bench/commands/scenario_run.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "bench/cache_folder.h"
#include "bench/interrupt.h"
#include "bench/journal.h"
#include "bench/json_text.h"
#include "bench/report/report.h"
#include "bench/runner.h"
#include "bench/shipped_scenarios.h"
#include "bench/targets/engine.h"
#include "bench/targets/external.h"
#include "engine/knobs.h"

namespace crossover {

namespace {

namespace fs = std::filesystem;

std::unique_ptr<Target> target_for(const Scenario& scenario) {
  if (scenario.kind == "external") return make_external_target();
  Knobs knobs;
  knobs.set_from_environment(environ);
  return std::make_unique<EngineTarget>(cache_folder(knobs.get("CROSSOVER_CACHE_DIR")));
}

// The newest run of the scenario that has a journal; what --resume without --out means.
fs::path newest_run(const fs::path& parent, const std::string& name) {
  fs::path newest;
  std::error_code none;
  for (fs::directory_iterator it(parent, none); !none && it != fs::directory_iterator(); it.increment(none))
    if (holds_journal(it->path()) && it->path().filename() > newest.filename()) newest = it->path();
  if (newest.empty())
    throw std::invalid_argument(fmt::format("--resume finds no journal of {} below {}; name the folder with --out", name, parent.string()));
  return newest;
}

fs::path out_folder(const Scenario& scenario, const RunRequest& request, bool several) {
  if (!request.out.empty()) return several ? request.out / scenario.name : request.out;
  const fs::path parent = fs::path("crossover-out") / scenario.name;
  if (request.resume) return newest_run(parent, scenario.name);
  std::string now = utc_now();
  std::erase(now, ':');
  return parent / now;
}

void print_plan(const Scenario& scenario, const fs::path& out) {
  const Plan plan = make_plan(scenario);
  fmt::print("{}: {}\nplan {}\n", scenario.name, scenario.question, plan.hash);
  fmt::print("primary {}, threshold {} %, {} pairs in each of {} cells, seed {}\n", scenario.primary, scenario.threshold_percent,
             scenario.pairs, scenario.cells.size(), scenario.seed);
  for (const PlannedSample& sample : plan.samples) {
    const std::string& cell = scenario.cells[static_cast<std::size_t>(sample.cell)].name;
    fmt::print("{:5}  {}  pair {}{}{}\n", sample.position, sample.arm, sample.pair, cell.empty() ? "" : "  " + cell,
               sample.control ? "  (determinism control, not analysed)" : "");
  }
  const double count = static_cast<double>(plan.samples.size());
  if (const auto each_s = journal_seconds_per_sample(out))
    fmt::print("estimate: {:.0f} s for {} samples (from the journal in {})\n", std::ceil(*each_s * count), plan.samples.size(), out.string());
  else
    fmt::print("estimate: at most {:.0f} s for {} samples (their time limit; none was taken yet in {})\n",
               std::ceil(scenario.sample_timeout_s * count), plan.samples.size(), out.string());
}

void print_verdict(const Finished& finished, const fs::path& out) {
  const Verdict& verdict = finished.outcome.verdict;
  fmt::print("{}  {}\n", word_text(verdict.word), finished.scenario.name);
  fmt::print("  {}\n", verdict.reason);
  if (verdict.cells.size() > 1)
    for (const CellAnalysis& cell : verdict.cells) fmt::print("  {:13} {}: {}\n", word_text(cell.word), cell.name, cell.reason);
  for (const CellAnalysis& cell : verdict.cells) {
    const MetricAnalysis& primary = cell.metrics.at(finished.scenario.primary);
    if (primary.estimate && primary.estimate->order_interval)
      fmt::print("  order effect{}: {:+.2f} % ({:+.2f} to {:+.2f})\n", cell.name.empty() ? "" : " of " + cell.name,
                 percent(primary.estimate->order_effect), percent(primary.estimate->order_interval->low),
                 percent(primary.estimate->order_interval->high));
    for (const std::string& flag : cell.flags) fmt::print("  flag{}: {}\n", cell.name.empty() ? "" : " of " + cell.name, flag);
  }
  fmt::print("  result {}\n  report {}\n", finished.outcome.result_file.string(), (out / "report.html").string());
}

Finished run_one(const Scenario& scenario, const RunRequest& request, const fs::path& out) {
  const std::unique_ptr<Target> target = target_for(scenario);
  RunOptions options{out, request.resume, request.quiet, request.max_time_s, split_environment(environ, scenario, request.inherit_env), {}};
  if (!request.quiet) options.say = [](const std::string& line) { fmt::print(stderr, "{}\n", line); };
  return {scenario, run_scenario(scenario, *target, options)};
}

// Rank of an exit code as the worst: INVALID > SLOWER > INCONCLUSIVE > good.
int worse(int a, int b) {
  const auto rank = [](int code) { return code == 3 ? 3 : code == 1 ? 2 : code == 2 ? 1 : 0; };
  return rank(a) >= rank(b) ? a : b;
}

}  // namespace

ScenarioText load_scenario(const std::string& file_or_name) {
  if (!fs::exists(file_or_name))
    if (const ShippedScenario* shipped = find_shipped_scenario(file_or_name)) return {file_or_name, shipped->text};
  if (fs::is_directory(file_or_name)) throw std::runtime_error(fmt::format("{} is a folder; give a scenario file", file_or_name));
  if (!fs::exists(file_or_name)) {
    std::vector<std::string> names;
    for (const ShippedScenario& shipped : shipped_scenarios()) names.emplace_back(shipped.name);
    const std::string guess = nearest(file_or_name, names);
    throw std::runtime_error(fmt::format("there is no scenario {}; {}", file_or_name,
                                         guess.empty() ? "give a file, or a name from `crossover list`" : "did you mean " + guess + "?"));
  }
  return {file_or_name, read_text_file(file_or_name)};
}

int run_and_print(const std::vector<ScenarioText>& texts, const RunRequest& request) {
  std::vector<Scenario> scenarios;  // all are checked before the first one starts
  for (const ScenarioText& text : texts) scenarios.push_back(parse_scenario(text.text, text.source, request.changes));
  const InterruptGuard guard;
  std::vector<Finished> results;
  int code = 0;
  for (const Scenario& scenario : scenarios) {
    const fs::path out = out_folder(scenario, request, scenarios.size() > 1);
    if (request.dry_run) {
      print_plan(scenario, out);
      continue;
    }
    results.push_back(run_one(scenario, request, out));
    write_report({results.back().outcome.result_file}, out, /*publish=*/false);
    print_verdict(results.back(), out);
    std::fflush(stdout);
    code = worse(code, word_exit_code(results.back().outcome.verdict.word));
  }
  if (!request.dry_run)
    for (const ExportTo& to : request.exports) write_export(to, results);
  return request.report_only ? 0 : code;
}

}  // namespace crossover
