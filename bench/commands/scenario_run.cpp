#include "bench/commands/scenario_run.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "bench/cache_folder.h"
#include "bench/extension.h"
#include "bench/journal.h"
#include "bench/json_text.h"
#include "bench/judge/looks.h"
#include "bench/noise/noise_store.h"
#include "bench/process/interrupt.h"
#include "bench/report/report.h"
#include "bench/runner.h"
#include "bench/shipped_scenarios.h"
#include "bench/targets/endpoint.h"
#include "bench/targets/engine.h"
#include "bench/targets/external.h"
#include "engine/knobs.h"

namespace crossover {

namespace {

namespace fs = std::filesystem;

struct Finished {
  Scenario scenario;
  RunOutcome outcome;
};

// The newest run of the scenario that has a journal in `inside`; what --resume without --out means.
fs::path newest_run(const fs::path& parent, const std::string& name, const char* inside = "") {
  fs::path newest;
  std::error_code none;
  for (fs::directory_iterator it(parent, none); !none && it != fs::directory_iterator(); it.increment(none))
    if (holds_journal(it->path() / inside) && it->path().filename() > newest.filename()) newest = it->path();
  if (newest.empty())
    throw std::invalid_argument(fmt::format("--resume finds no journal of {} below {}; name the folder with --out", name, parent.string()));
  return newest;
}

fs::path fresh_folder(const fs::path& parent) {
  std::string now = utc_now();
  std::erase(now, ':');
  return parent / now;
}

struct Place {
  fs::path out;
  std::optional<ExtendedPlan> extends;
};

// A plan that was judged is not gone on with: more pairs than it had declared are a plan of their own, in a folder of their own.
Place place_of(const Scenario& scenario, const RunRequest& request, bool several) {
  const bool raised = request.changes.pairs || std::any_of(request.changes.sets.begin(), request.changes.sets.end(),
                                                           [](const std::string& set) { return set.starts_with("/plan/pairs="); });
  const fs::path parent = fs::path("crossover-out") / scenario.name;
  if (request.out.empty()) {
    if (!request.resume) return {fresh_folder(parent), raised ? newest_extended_plan(scenario, parent) : std::nullopt};
    const fs::path newest = newest_run(parent, scenario.name);
    if (const auto earlier = raised ? extended_plan(scenario, newest) : std::nullopt) return {fresh_folder(parent), earlier};
    return {newest, std::nullopt};
  }
  const fs::path out = several ? request.out / scenario.name : request.out;
  if (!request.resume || !raised) return {out, std::nullopt};
  const auto earlier = extended_plan(scenario, out);
  return {earlier ? fs::path(fmt::format("{}-{}-pairs", out.string(), scenario.pairs)) : out, earlier};
}

NoiseFloors noise_of(const Scenario& scenario, bool quiet) {
  try {
    std::string trouble;
    NoiseFloors floors = stored_noise(noise_folder(), scenario, &trouble);
    if (!trouble.empty() && !quiet) fmt::print(stderr, "{}\n", trouble);
    return floors;
  } catch (const std::runtime_error&) {
    return {};  // no home, so nothing was kept
  }
}

// What the plan can find by what A's noise was, before a sample is taken.
void print_noise(const Scenario& scenario) {
  const NoiseFloors floors = noise_of(scenario, /*quiet=*/false);
  for (std::size_t i = 0; i < floors.size(); ++i) {
    const NoiseFloor* floor = floors[i].find(scenario.primary);
    if (!floor || floors[i].from.empty()) continue;
    const double tau = std::max(ln_of_percent(scenario.threshold_percent), floor->at(scenario.pairs));
    const double smallest = minimum_detectable_effect(std::sqrt(floor->within / scenario.pairs), scenario.pairs - 2, tau, look_level(scenario.looks));
    const std::string& name = scenario.cells[i].name;
    fmt::print("{}{}noise floor {:.2f} % at {} pairs ({}); differences from {:.2f} % on would be found\n", name, name.empty() ? "" : ": ",
               percent(floor->at(scenario.pairs)), scenario.pairs, floors[i].from, percent(smallest));
  }
}

void print_plan(const Scenario& scenario, const Place& place) {
  const fs::path& out = place.out;
  const Plan plan = make_plan(scenario, place.extends ? place.extends->plan_hash : "");
  fmt::print("{}: {}\nplan {}\n", scenario.name, scenario.question, plan.hash);
  if (place.extends) fmt::print("an unplanned extension of plan {} ({} pairs)\n", place.extends->plan_hash, place.extends->pairs);
  if (scenario.looks.size() > 1)
    fmt::print("judged at {} pairs, each time at a level of {:.4f}; it stops where that decides\n", fmt::join(scenario.looks, ", "),
               look_level(scenario.looks));
  fmt::print("primary {}, threshold {} %, {} pairs in each of {} cells, seed {}\n", scenario.primary, scenario.threshold_percent,
             scenario.pairs, scenario.cells.size(), scenario.seed);
  if (scenario.pairs > 2) print_noise(scenario);
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

// The largest changes of phases, and what none of them explains.
void print_waterfall(const CellAnalysis& cell) {
  if (!cell.residual_s || cell.waterfall.empty()) return;
  std::vector<WaterfallStep> steps = cell.waterfall;
  std::stable_sort(steps.begin(), steps.end(), [](const WaterfallStep& x, const WaterfallStep& y) { return std::abs(x.delta_s) > std::abs(y.delta_s); });
  std::string line;
  double others_s = 0;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    if (i < 4) line += fmt::format("{}{} {:+.4f} s", line.empty() ? "" : ", ", steps[i].phase, steps[i].delta_s);
    else others_s += steps[i].delta_s;
  }
  if (steps.size() > 4) line += fmt::format(", {} others {:+.4f} s", steps.size() - 4, others_s);
  fmt::print("  phases{}: {}; residual {:+.4f} s\n", cell.name.empty() ? "" : " of " + cell.name, line, *cell.residual_s);
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
    print_waterfall(cell);
    for (const std::string& flag : cell.flags) fmt::print("  flag{}: {}\n", cell.name.empty() ? "" : " of " + cell.name, flag);
  }
  for (const CurveCrossings& curve : verdict.crossings) fmt::print("  {}\n", curve.sentence);
  fmt::print("  result {}\n  report {}\n", finished.outcome.result_file.string(), (out / "report.html").string());
}

Finished run_one(const Scenario& scenario, const RunRequest& request, const Place& place) {
  const std::unique_ptr<Target> target = target_for(scenario, request.inherit_env);
  RunOptions options;
  options.out = place.out;
  options.quiet = request.quiet;
  // A plan of its own that was interrupted goes on as well.
  options.resume = request.resume && (!place.extends || holds_journal(place.out));
  options.max_time_s = request.max_time_s;
  options.ambient = split_environment(environ, scenario, request.inherit_env);
  options.record = {place.extends, noise_of(scenario, request.quiet)};
  if (!request.quiet) options.say = [](const std::string& line) { fmt::print(stderr, "{}\n", line); };
  if (place.extends && options.say)
    options.say(fmt::format("an unplanned extension of plan {}: {} pairs of its own in {}, judged without the {} of that plan",
                            place.extends->plan_hash.substr(0, 12), scenario.pairs, place.out.string(), place.extends->pairs));
  return {scenario, run_scenario(scenario, *target, options)};
}

// Rank of an exit code as the worst: INVALID > SLOWER > INCONCLUSIVE > good.
int worse(int a, int b) {
  const auto rank = [](int code) { return code == 3 ? 3 : code == 1 ? 2 : code == 2 ? 1 : 0; };
  return rank(a) >= rank(b) ? a : b;
}

}  // namespace

std::unique_ptr<Target> target_for(const Scenario& scenario, bool inherit_env) {
  if (scenario.kind == "external") return make_external_target();
  if (scenario.kind == "endpoint") return std::make_unique<EndpointTarget>(random_salt(), /*environment_proxy=*/inherit_env);
  Knobs knobs;
  knobs.set_from_environment(environ);
  return std::make_unique<EngineTarget>(cache_folder(knobs.get("CROSSOVER_CACHE_DIR")));
}

fs::path noise_out_folder(const Scenario& scenario, const fs::path& asked, bool resume) {
  if (!asked.empty()) return asked;
  const fs::path parent = fs::path("crossover-out") / (scenario.name + "-noise");
  return resume ? newest_run(parent, scenario.name, "aa-01") : fresh_folder(parent);
}

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
  std::vector<fs::path> result_files;
  int code = 0;
  for (const Scenario& scenario : scenarios) {
    const Place place = place_of(scenario, request, scenarios.size() > 1);
    const fs::path& out = place.out;
    if (request.dry_run) {
      print_plan(scenario, place);
      continue;
    }
    const Finished finished = run_one(scenario, request, place);
    result_files.push_back(finished.outcome.result_file);
    write_report({finished.outcome.result_file}, out, /*publish=*/false);
    print_verdict(finished, out);
    std::fflush(stdout);
    code = worse(code, word_exit_code(finished.outcome.verdict.word));
  }
  if (!request.dry_run)
    for (const ExportTo& to : request.exports) write_export(to, result_files);
  return request.report_only ? 0 : code;
}

}  // namespace crossover
