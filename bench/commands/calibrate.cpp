#include <fmt/format.h>
#include <unistd.h>

#include <memory>

#include "bench/calibrate/calibrate.h"
#include "bench/calibrate/calibrate_processes.h"
#include "bench/calibrate/calibrate_table.h"
#include "bench/calibrate/overhead.h"
#include "bench/commands/commands.h"
#include "bench/commands/run_options.h"
#include "bench/commands/scenario_run.h"
#include "bench/machine/usable_cores.h"
#include "bench/process/interrupt.h"
#include "bench/progress.h"
#include "kernels/trace.h"

namespace crossover::commands {

namespace {

namespace fs = std::filesystem;

constexpr int kOverheadSamples = 50;

struct Options {
  CalibrationOptions simulated;
  std::optional<int> pairs;  // absent: 8, or those of the scenario
  std::optional<int> processes;
  std::string scenario = "external_example";
  std::vector<std::string> sets;
  fs::path out;
  bool resume = false, overhead = false, json = false;
};

// What did not hold, a line each.
void print_failures(const std::vector<CalibrationRate>& rates) {
  for (const CalibrationRate& rate : rates) {
    const Holds holds = rate.holds();
    if (holds == Holds::kYes) continue;
    fmt::print(stderr, "{}: {}: {}: {:.2f} % of {}, {} {:g} % was asked{}\n", holds == Holds::kNo ? "fails" : "open", rate.shape, rate.says,
               100 * rate.counted.share(), rate.counted.of, rate.at_most ? "at most" : "at least", 100 * *rate.limit,
               holds == Holds::kOpen ? "; more --experiments would decide" : "");
  }
}

// 0: every criterion holds; 3: one fails, so verdicts of this pipeline are invalid; 2: too few experiments to tell.
int exit_code_of(Holds holds) { return holds == Holds::kYes ? 0 : holds == Holds::kOpen ? 2 : 3; }

int simulate_and_print(const Options& options) {
  const InterruptGuard guard;
  Progress progress;
  CalibrationOptions simulated = options.simulated;
  simulated.pairs = options.pairs.value_or(simulated.pairs);
  simulated.progress = [&progress](const std::string& what, std::int64_t done, std::int64_t total) { progress.show(what, done, total); };
  const Calibration calibration = calibrate(simulated);
  const std::string json = calibration_json(calibration);
  if (options.json) {
    fmt::print("{}", json);
  } else {
    fmt::print("{} experiments of {} pairs of each kind, seed {}; in brackets exact 95 % intervals\n\n", simulated.experiments, simulated.pairs, simulated.seed);
    if (!calibration.shapes.empty()) fmt::print("{}\n", calibration_table(json, "shapes"));
    if (!calibration.checks.empty()) fmt::print("{}\n", calibration_table(json, "checks"));
    if (!calibration.habits.empty())
      fmt::print("The same programs without effect, compared as usual: how often a difference is seen at 5 %\n\n{}", calibration_table(json, "habits"));
  }
  std::vector<CalibrationRate> criteria = calibration.rates;
  criteria.insert(criteria.end(), calibration.checks.begin(), calibration.checks.end());
  std::fflush(stdout);
  print_failures(criteria);
  return exit_code_of(worst(criteria));
}

const fs::path kOut = "crossover-out";

fs::path folder_of(const Options& options) {
  if (options.out.empty()) {
    if (options.resume) throw std::invalid_argument("--resume needs the --out folder of the calibration to continue");
    std::string now = utc_now();
    std::erase(now, ':');
    return kOut / ("calibrate-" + fs::path(options.scenario).stem().string()) / now;
  }
  std::error_code none;
  if (!options.resume && fs::exists(options.out) && !fs::is_empty(options.out, none))
    throw std::invalid_argument(fmt::format("{} is not empty; continue a calibration there with --resume or choose another --out", options.out.string()));
  return options.out;
}

ProcessCalibration run_processes(const Options& options, const fs::path& folder) {
  const ScenarioText text = load_scenario(options.scenario);
  const ScenarioChanges changes{options.sets, options.pairs};
  const Scenario scenario = parse_scenario(identical_arms(text.text, text.source), text.source, changes);
  fmt::print(stderr, "{} runs of {} against itself, {} samples each, in {}\n", *options.processes, scenario.name, make_plan(scenario).samples.size(),
             folder.string());
  const std::unique_ptr<Target> target = target_for(scenario);
  Progress progress;
  const double started_s = monotonic_s();
  ProcessCalibrationOptions how{*options.processes, options.simulated.seed, folder, {}};
  how.progress = [&](int run) {
    if (run == 1) fmt::print(stderr, "about {:.0f} s for the other {}\n", (monotonic_s() - started_s) * (how.runs - 1), how.runs - 1);
    progress.show("runs", run, how.runs);
  };
  return calibrate_processes(text.text, text.source, changes, *target, how);
}

int run_processes_and_print(const Options& options) {
  const InterruptGuard guard;
  const bool runs = options.processes.has_value();
  const fs::path folder = runs ? folder_of(options) : options.out.empty() ? kOut : options.out;
  const OverheadSummary overhead = summarise(measure_overhead(fmt::format("/proc/{}/exe", getpid()), folder, kOverheadSamples));
  const ProcessCalibration calibration = runs ? run_processes(options, folder) : ProcessCalibration{};
  if (std::error_code not_empty; !runs) fs::remove(folder, not_empty);
  const std::string json = calibration_json(calibration, overhead);
  if (options.json) {
    fmt::print("{}", json);
  } else {
    if (runs)
      fmt::print("{} real runs of {} against itself, {} pairs each; in brackets exact 95 % intervals\n\n{}\n", calibration.runs.size(), calibration.scenario,
                 calibration.pairs, calibration_table(json, "processes"));
    fmt::print("{}", calibration_table(json, "overhead"));
  }
  std::fflush(stdout);
  print_failures(calibration.rates);
  if (overhead.overhead.median_s > kOverheadLimit_s)
    fmt::print(stderr, "the harness costs {:.1f} ms a sample here, {:.0f} ms are usual: a busy machine or a slow disk in {}\n", 1e3 * overhead.overhead.median_s,
               1e3 * kOverheadLimit_s, folder.string());
  if (overhead.clean_windows < overhead.samples) fmt::print(stderr, "fails: overhead: something of the harness lies inside a timed window\n");
  return overhead.clean_windows < overhead.samples ? 3 : exit_code_of(worst(calibration.rates));
}

}  // namespace

void add_calibrate(Command app, int& exit_code) {
  const Command command = app.add_subcommand(
      "calibrate", "How often this pipeline is wrong: simulated programs whose truth is known, through plan, samples and verdict");
  command.footer(
      "Exit code 0: every criterion holds; 3: one fails; 2: too few experiments to tell.\n"
      "Examples: crossover calibrate --experiments 2000 --shape drift ar1\n"
      "          crossover calibrate --processes 20 --scenario external_example");
  const auto options = std::make_shared<Options>();
  options->simulated.threads = usable_cores();
  command.add_option("--experiments", options->simulated.experiments, "of each kind and shape of noise").show_default();
  command.add_option("--pairs", options->pairs, "of each experiment or run (default 8, or those of the scenario)");
  command.add_option("--seed", options->simulated.seed, "equal seeds give equal numbers on every machine").show_default();
  command.add_option("--shape", options->simulated.shapes, "only these shapes of noise, `equivalence`, `control`").type_name("NAME");
  command.add_option("--threads", options->simulated.threads, "changes no number").range(1, 1024).show_default();
  command.add_option("--processes", options->processes, "instead: so many real runs of a scenario's arm A against itself, and --overhead")
      .type_name("RUNS");
  command.add_option("--scenario", options->scenario, "of --processes: a file, or a name from `crossover list`").show_default();
  add_list_option(command, "--set", options->sets, "change that scenario; VALUE is JSON, else a string", "/POINTER=VALUE");
  command.add_option("--out", options->out, "where the runs are kept (default crossover-out/calibrate-NAME/UTC)").type_name("DIR");
  command.add_flag("--resume", options->resume, "continue the runs in --out");
  command.add_flag("--overhead", options->overhead, "instead: what the harness itself costs a sample");
  command.add_flag("--json", options->json, "print a JSON object");
  command.callback([options, &exit_code] {
    exit_code = options->processes || options->overhead ? run_processes_and_print(*options) : simulate_and_print(*options);
  });
}

}  // namespace crossover::commands
