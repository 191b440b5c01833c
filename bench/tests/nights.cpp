#include "bench/tests/nights.h"

#include <fmt/format.h>

#include <cmath>
#include <numbers>

#include "bench/result.h"

namespace crossover {

double uniform(Random& random) { return (static_cast<double>(random.next() >> 11) + 0.5) * 0x1p-53; }

double normal(Random& random) {
  const double radius = std::sqrt(-2 * std::log(uniform(random)));
  return radius * std::cos(2 * std::numbers::pi * uniform(random));
}

std::string night_time(int night) { return fmt::format("20{:02}-{:02}-{:02}T02:00:00.000Z", 20 + night / 336, 1 + night / 28 % 12, 1 + night % 28); }

nlohmann::ordered_json night_result(const Night& night, const nlohmann::json& asked) {
  nlohmann::json changed = asked;
  changed["plan"]["seed"] = night.at + 1;
  const Scenario scenario = scenario_from(changed);
  SimulatedProgram program;
  program.base_s = night.level_s, program.noise_ln = night.noise_ln, program.seed = static_cast<std::uint64_t>(night.at + 1);
  RunOutcome outcome;
  outcome.plan = make_plan(scenario), outcome.samples = simulate(scenario, program);
  for (Sample& sample : outcome.samples) {
    sample.started_at = night_time(night.at);
    sample.page_cache = PageCacheState{"warm", 100, 100};
  }
  outcome.verdict = judge(scenario, outcome.samples);
  const nlohmann::json environment{{"host", "box"}, {"cpu", {{"model", "Some CPU"}, {"allowed_cores", 2}}}, {"load_before", 0.01 * night.at}};
  nlohmann::ordered_json result = result_to_json(scenario, outcome, environment.dump(), {});
  result["build"]["commit"] = night.commit, result["build"]["dirty"] = false;
  if (night.commit.empty()) result["build"].erase("commit");
  return result;
}

RunRecord night_run(int night, const std::string& commit, double a_ln, double b_ln, double sd_ln, const std::string& cell) {
  RunRecord run;
  run.scenario = "nightly", run.kind = "prefill", run.asked = "{}", run.machine = "m", run.hardware = "{}", run.flags = "{}";
  run.version = "1", run.commit = commit, run.compiler = "GNU", run.started_at = night_time(night);
  run.tau_ln = 1e-9;  // rounding is no change
  run.plan_hash = "plan", run.primary = "t_s", run.word = "EQUIVALENT", run.reason = "same", run.samples = 16;
  for (const char* arm : {"A", "B"}) {
    RunPoint point;
    point.cell = cell, point.metric = "t_s", point.arm = arm, point.page_cache = "warm", point.build = commit;
    point.value_ln = arm[0] == 'A' ? a_ln : b_ln, point.sd_ln = sd_ln, point.n = 8;
    run.points.push_back(point);
  }
  return run;
}

}  // namespace crossover
