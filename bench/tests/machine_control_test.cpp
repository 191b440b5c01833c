// What a scenario asks of the machine acts on real processes, and the result says what was granted.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "bench/machine/machine_facts.h"
#include "bench/result.h"
#include "bench/runner.h"
#include "bench/targets/external.h"
#include "bench/tests/simulation.h"
#include "engine/tests/temp_folder.h"
#include "kernels/trace.h"

namespace crossover {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

class MachineControl : public test::FolderTest {
 protected:
  MachineControl() {
    options_.out = folder_ / "out", options_.quiet = true;
    options_.ambient.kept = {"PATH=/usr/bin:/bin"};
    scenario_["plan"]["pairs"] = 2;
    scenario_["expect"]["outputs"] = "ignore";
  }

  RunOutcome run() {
    const std::unique_ptr<Target> target = make_external_target();
    return run_scenario(scenario_from(scenario_), *target, options_);
  }

  RunOptions options_;
  json scenario_ = scenario_json();
};

TEST_F(MachineControl, PinsAndLowersPriorityAndRecordsWhatWasGranted) {
  const int core = cores_allowed_here().back();
  scenario_["workload"]["cpus"] = std::to_string(core), scenario_["workload"]["priority"] = 7;
  const RunOutcome outcome = run();
  for (const Sample& sample : outcome.samples) {
    EXPECT_EQ(sample.cpus, std::vector<int>{core});
    EXPECT_EQ(sample.priority, 7);
  }
  const json granted = result_to_json(scenario_from(scenario_), outcome, "{}", {}).at("samples").at(0).at("granted");
  EXPECT_EQ(granted, (json{{"cpus", {core}}, {"priority", 7}}));
  for (const GateResult& gate : outcome.verdict.cells[0].gates) EXPECT_NE(gate.state, "fail") << gate.finding;
}

TEST_F(MachineControl, RecordsTheCoresOfTheHarnessWhereNoneAreAsked) {
  for (const Sample& sample : run().samples) {
    EXPECT_EQ(sample.cpus, cores_allowed_here());
    EXPECT_TRUE(sample.priority.has_value());
  }
}

TEST_F(MachineControl, CoolsDownBeforeEverySample) {
  scenario_["workload"]["cooldown_s"] = 0.05;
  const double begin_s = monotonic_s();
  const RunOutcome outcome = run();
  EXPECT_GE(monotonic_s() - begin_s, 0.05 * static_cast<double>(outcome.samples.size()));
  for (const Sample& sample : outcome.samples) EXPECT_LT(sample.counters.at("process.user_s"), 5);  // and not inside of it
}

TEST_F(MachineControl, CountsEverySampleOutsideOfItsMetrics) {
  for (const Sample& sample : run().samples) {
    EXPECT_GT(sample.counters.at("process.wall_s"), 0);
    EXPECT_TRUE(sample.counters.contains("process.voluntary_switches"));
    for (const auto& [name, value] : sample.metrics) EXPECT_FALSE(name.starts_with("perf.") || name.starts_with("machine.")) << name;
  }
}

}  // namespace
}  // namespace crossover
