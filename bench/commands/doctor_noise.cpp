#include "bench/commands/doctor_noise.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "bench/commands/run_options.h"
#include "bench/commands/scenario_run.h"
#include "bench/machine/machine_id.h"
#include "bench/process/interrupt.h"
#include "bench/report/words.h"

namespace crossover::commands {

namespace {

using Json = nlohmann::ordered_json;

constexpr int kShownPairs[] = {4, 8, 16, 32};

Json floor_json(const NoiseFloor& floor) {
  Json out{{"pair_sd_percent", percent(std::sqrt(floor.within))},
           {"between_sd_percent", percent(std::sqrt(floor.between))},
           {"comparisons", floor.comparisons},
           {"pairs", floor.pairs}};
  for (const int pairs : kShownPairs) out["floor_percent"][std::to_string(pairs)] = percent(floor.at(pairs));
  return out;
}

Json result_json(const NoiseResult& result, const std::vector<std::string>& files) {
  Json out{{"scenario", result.scenario.name},
           {"machine", machine_id()},
           {"primary", result.scenario.primary},
           {"seconds", result.seconds},
           {"invalid_comparisons", result.invalid},
           {"cells", Json::array()}};
  for (std::size_t i = 0; i < result.cells.size(); ++i) {
    const NoiseMeasured& cell = result.cells[i];
    Json entry{{"comparisons", cell.comparisons}, {"pairs", cell.pairs}, {"false_verdicts", cell.false_verdicts}, {"stored", files[i]}};
    if (!result.scenario.cells[i].name.empty()) entry["name"] = result.scenario.cells[i].name;
    for (const auto& [metric, floor] : cell.noise.metrics) entry["metrics"][metric] = floor_json(floor);
    out["cells"].push_back(std::move(entry));
  }
  return out;
}

void print_floor(const std::string& metric, const NoiseFloor& floor) {
  std::string line = fmt::format("{:<32}{:>9.2f} %{:>9.2f} %", metric, percent(std::sqrt(floor.within)), percent(std::sqrt(floor.between)));
  for (const int pairs : kShownPairs) line += fmt::format("{:>8.2f} %", percent(floor.at(pairs)));
  fmt::print("{}\n", line);
}

void print_result(const NoiseResult& result, const std::vector<std::string>& files) {
  for (std::size_t i = 0; i < result.cells.size(); ++i) {
    const NoiseMeasured& cell = result.cells[i];
    const std::string& name = result.scenario.cells[i].name;
    fmt::print("{}{}: {} comparisons of A with itself, {} pairs each, {} of them with a false verdict\n", result.scenario.name,
               name.empty() ? "" : " " + name, cell.comparisons, cell.pairs, cell.false_verdicts);
    std::string head = fmt::format("{:<32}{:>11}{:>11}", "metric", "a pair, SD", "between");
    for (const int pairs : kShownPairs) head += fmt::format("{:>10}", fmt::format("{} pairs", pairs));
    fmt::print("{}\n", head);
    const auto primary = cell.noise.metrics.find(result.scenario.primary);
    if (primary != cell.noise.metrics.end()) print_floor(primary->first, primary->second);
    int parts = 0;
    for (const auto& [metric, floor] : cell.noise.metrics) {
      const std::vector<std::string>& controls = result.scenario.expect.controls;
      const bool control = std::find(controls.begin(), controls.end(), metric) != controls.end();
      if (metric == result.scenario.primary) continue;
      if (report::is_part(metric) && !control) ++parts;
      else print_floor(metric, floor);
    }
    if (parts > 0) fmt::print("and {} metrics of single phases, with --json\n", parts);
    fmt::print("kept in {}\n", files[i]);
  }
  if (result.invalid > 0) fmt::print("{} more comparisons were INVALID and left out, the first because {}\n", result.invalid, result.why_invalid);
  fmt::print("A difference smaller than its floor is no verdict here; more pairs help as far as the column 'between' lets them.\n");
}

}  // namespace

void add_noise_options(Command command, NoiseCommand& options) {
  const Option noise = command.add_option("--noise", options.scenario, "measure how far A of this scenario differs from itself, and keep it for verdicts");
  noise.type_name("SCENARIO");
  const auto with_noise = [noise](Option option) { option.needs(noise); };
  with_noise(command.add_option("--comparisons", options.plan.comparisons, "comparisons of A with itself, 10 or more")
                 .range(kFewestComparisons, 1000));
  with_noise(command.add_option("--pairs", options.plan.pairs, "pairs of each comparison, an even number from 4")
                 .range(kFewestPairsOfComparison, 1000));
  with_noise(command.add_option("--out", options.out, "folder of the comparisons; default crossover-out/NAME-noise/UTC").type_name("DIR"));
  with_noise(add_list_option(command, "--set", options.sets, "change the scenario, as in `run`", "/POINTER=VALUE"));
  with_noise(command.add_flag("--resume", options.resume, "continue in --out (default: the newest one of the scenario)"));
  with_noise(command.add_flag("--inherit-env", options.inherit_env, "pass on CROSSOVER_* variables that the scenario does not set"));
  with_noise(command.add_flag("--quiet", options.quiet, "no progress and no notes on stderr"));
}

void measure_noise_and_print(const NoiseCommand& options, bool as_json) {
  const ScenarioText text = load_scenario(options.scenario);
  const Scenario scenario = parse_scenario(text.text, text.source, {options.sets, std::nullopt});
  const std::filesystem::path folder = noise_folder();  // before anything is measured: it may have no place
  RunOptions run;
  run.out = noise_out_folder(scenario, options.out, options.resume);
  run.resume = options.resume, run.quiet = options.quiet;
  run.ambient = split_environment(environ, a_against_a(scenario, options.plan, 0), options.inherit_env);
  if (!options.quiet) run.say = [](const std::string& line) { fmt::print(stderr, "{}\n", line); };
  const InterruptGuard guard;
  const std::unique_ptr<Target> target = target_for(scenario);
  const NoiseResult result = measure_noise(scenario, options.plan, *target, run);
  std::vector<std::string> files;
  for (std::size_t i = 0; i < result.cells.size(); ++i) files.push_back(store_noise(folder, result.scenario, i, result.cells[i]).string());
  as_json ? fmt::print("{}\n", result_json(result, files).dump(2, ' ', false, Json::error_handler_t::replace)) : print_result(result, files);
}

}  // namespace crossover::commands
