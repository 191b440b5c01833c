// A shipped scenario with a tiny model and two pairs, run through the program itself. Its times mean nothing.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "bench/page_cache.h"
#include "bench/runner.h"
#include "bench/shipped_scenarios.h"
#include "bench/targets/engine.h"
#include "engine/tests/temp_folder.h"

namespace crossover {

inline constexpr const char* kTinyDense = R"(/workload/model={"synth":"tiny-dense","seed":1})";
inline constexpr const char* kTinyMoe = R"(/workload/model={"synth":"tiny-moe","seed":1})";

class ShippedScenarioTest : public test::FolderTest {
 protected:
  // In the build's own folder: the usual temporary one may lie in memory, where nothing can be evicted.
  ShippedScenarioTest() : FolderTest(std::filesystem::current_path()) {
    std::ofstream(folder_ / "probe") << "x";
    try {
      residency({folder_ / "probe"});
      evicts_ = true;
    } catch (const std::runtime_error&) {
    }
  }

  RunOutcome run(const char* name, std::vector<std::string> sets) {
    const ShippedScenario* shipped = find_shipped_scenario(name);
    if (!shipped) throw std::runtime_error(std::string("no scenario ") + name);
    std::erase(sets, "");
    for (const char* arm : {"A", "B"}) sets.push_back(std::string("/arms/") + arm + "/program=" CROSSOVER_PROGRAM);
    scenario_ = parse_scenario(shipped->text, name, {sets, 2});
    EngineTarget target(folder_ / "cache");
    RunOptions options;
    options.out = folder_ / scenario_.name;
    options.quiet = true;
    options.ambient = split_environment(environ, scenario_, false);
    return run_scenario(scenario_, target, options);
  }

  std::string page_cache(const char* wanted) const { return std::string("/workload/page_cache=") + (evicts_ ? wanted : "as-is"); }

  static std::set<std::string> paths(const RunOutcome& outcome, char arm, const std::string& name) {
    std::set<std::string> values;
    for (const Sample& sample : outcome.samples)
      if (sample.arm == arm) values.insert(sample.path.at(name));
    return values;
  }

  static void expect_valid(const RunOutcome& outcome) {
    EXPECT_EQ(outcome.verdict.word, Word::kInconclusive) << outcome.verdict.reason;  // two pairs decide nothing
    for (const CellAnalysis& cell : outcome.verdict.cells) EXPECT_EQ(cell.outputs.gate, "pass") << cell.name << ": " << cell.reason;
  }

  bool evicts_ = false;
  Scenario scenario_;
};

}  // namespace crossover
