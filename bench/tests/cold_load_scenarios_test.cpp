// The shipped scenarios of cold load with tiny models and two pairs, through the program itself: what they promise about paths,
// counters and outputs holds. Their times mean nothing here.
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "bench/page_cache.h"
#include "bench/runner.h"
#include "bench/scenario_schema.h"
#include "bench/shipped_scenarios.h"
#include "bench/targets/engine.h"

namespace crossover {
namespace {

namespace fs = std::filesystem;

constexpr const char* kDense = R"(/workload/model={"synth":"tiny-dense","seed":1})";
constexpr const char* kMoe = R"(/workload/model={"synth":"tiny-moe","seed":1})";

class ColdLoadScenario : public testing::Test {
 protected:
  // In the build's own folder: the usual temporary one may lie in memory, where nothing can be evicted.
  ColdLoadScenario() {
    std::string name = (fs::current_path() / "cold-load-XXXXXX").string();
    folder_ = mkdtemp(name.data());
    std::ofstream(folder_ / "probe") << "x";
    try {
      residency({folder_ / "probe"});
      evicts_ = true;
    } catch (const std::runtime_error&) {
    }
  }
  ~ColdLoadScenario() override { fs::remove_all(folder_); }

  RunOutcome run(const char* name, std::vector<std::string> sets) {
    const ShippedScenario* shipped = find_shipped_scenario(name);
    if (!shipped) throw std::runtime_error(std::string("no scenario ") + name);
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

  fs::path folder_;
  bool evicts_ = false;
  Scenario scenario_;
};

TEST_F(ColdLoadScenario, IsqTakesTheScheduleOfEachArm) {
  const RunOutcome outcome = run("cold_load_isq", {kDense, page_cache("cold")});
  expect_valid(outcome);
  EXPECT_TRUE(paths(outcome, 'A', "quantize").begin()->starts_with("serial"));
  EXPECT_TRUE(paths(outcome, 'B', "quantize").begin()->starts_with("pool"));
  for (const Sample& sample : outcome.samples) {
    double sum_s = 0;
    for (const SamplePhase& phase : sample.phases)
      if (phase.name.starts_with("load.") && phase.rank == 0) sum_s += phase.duration_s;
    EXPECT_NEAR(sum_s, sample.metrics.at("load.total_s"), 1e-6);
  }
  const auto result = nlohmann::json::parse(std::ifstream(outcome.result_file));
  EXPECT_EQ(schema_complaint(result, result_schema_text()), "");
  EXPECT_EQ(result["analysis"][0]["floors"]["B"]["derived"]["model"], "tiny-dense");
  ASSERT_EQ(outcome.rates.size(), 2U);
  EXPECT_TRUE(outcome.rates.at({0, 'A'}).quantize_values_per_s);
  EXPECT_EQ(outcome.rates.at({0, 'B'}).cold_read_bytes_per_s.has_value(), evicts_);
}

// The table of rules: cold against warm is refused even for one and the same arm.
TEST_F(ColdLoadScenario, ConfoundIsRefused) {
  if (!evicts_) GTEST_SKIP() << "the page cache cannot be controlled in " << folder_;
  const RunOutcome outcome = run("page_cache_confound", {kMoe});
  EXPECT_EQ(outcome.verdict.word, Word::kInvalid);
  EXPECT_EQ(word_exit_code(outcome.verdict.word), 3);
  EXPECT_NE(outcome.verdict.reason.find("the page cache was cold for A and warm for B"), std::string::npos) << outcome.verdict.reason;
  EXPECT_EQ(outcome.verdict.cells[0].outputs.gate, "pass");
  const RunOutcome like = run("page_cache_confound", {kMoe, "/arms/A/workload/page_cache=warm", "/name=same_page_cache"});
  EXPECT_NE(like.verdict.word, Word::kInvalid) << like.verdict.reason;
}

}  // namespace
}  // namespace crossover
