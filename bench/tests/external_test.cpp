// Real programs through the whole harness.
#include "bench/targets/external.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <set>
#include <stdexcept>

#include "bench/json_text.h"
#include "bench/regex.h"
#include "bench/runner.h"
#include "bench/tests/simulation.h"
#include "engine/tests/temp_folder.h"

namespace crossover {
namespace {

using nlohmann::json;

class External : public test::FolderTest {
 protected:
  External() {
    scenario_["workload"]["command"] = {"sh", "-c", "echo hello"};
    scenario_["expect"] = json::object();
    scenario_["plan"]["pairs"] = 4;
  }

  void shell(const std::string& script) { scenario_["workload"]["command"] = {"sh", "-c", script}; }

  // In folder "in", then in folder "in2", ...: a second run of a scenario is another run.
  RunOutcome run() {
    RunOptions options;
    options.out = folder_ / ("out" + std::to_string(runs_++));
    options.quiet = true;
    options.ambient.kept = {"PATH=/usr/bin:/bin"};
    const auto target = make_external_target();
    return run_scenario(scenario_from(scenario_), *target, options);
  }

  std::string failure() {
    try {
      run();
    } catch (const std::exception& error) {
      return error.what();
    }
    return "no failure";
  }

  json scenario_ = scenario_json();
  int runs_ = 0;
};

TEST_F(External, ReadsMetricsByRegexJsonAndClock) {
  shell("echo 'took 1.5 s'; echo 'took 2.5e0 s'; echo '[{\"avg_ts\": 12.25}]' >&2");
  scenario_["workload"]["metrics"] = {{"t_s", {{"regex", "took ([0-9.e]+) s"}}},
                                      {"rate_per_s", {{"json", "/0/avg_ts"}, {"from", "stderr"}}},
                                      {"wall_s", json::object()},
                                      {"user_s", json::object()}};
  scenario_["plan"]["primary"] = "t_s";
  const RunOutcome outcome = run();
  ASSERT_EQ(outcome.samples.size(), 9U);
  for (const Sample& sample : outcome.samples) {
    EXPECT_EQ(sample.metrics.at("t_s"), 2.5) << "the last match counts";
    EXPECT_EQ(sample.metrics.at("rate_per_s"), 12.25);
    EXPECT_GT(sample.metrics.at("wall_s"), 0);
  }
  EXPECT_EQ(outcome.verdict.word, Word::kEquivalent);
}

TEST_F(External, FindsAPlantedDifferenceOfAnEnvironmentVariable) {
  shell("sleep $DELAY");
  scenario_["plan"]["pairs"] = 8, scenario_["plan"]["threshold_percent"] = 10;
  scenario_["workload"]["env"] = {{"DELAY", "0.02"}};
  scenario_["arms"]["B"]["workload"] = {{"env", {{"DELAY", "0.2"}}}};
  const RunOutcome outcome = run();
  EXPECT_EQ(outcome.verdict.word, Word::kSlower) << outcome.verdict.reason;
}

TEST_F(External, FillsPlaceholdersInPlannedOrder) {
  shell("echo {sample} {arm} {nonce} >> " + (folder_ / "log").string());
  run();
  std::ifstream log(folder_ / "log");
  std::set<std::string> nonces;
  std::string nonce, arm;
  for (int expected = 0, sample = 0; log >> sample >> arm >> nonce; ++expected) {
    EXPECT_EQ(sample, expected);
    EXPECT_TRUE(arm == "A" || arm == "B");
    nonces.insert(nonce);
  }
  EXPECT_EQ(nonces.size(), 9U);
}

TEST_F(External, NamesWhatWentWrong) {
  shell("echo broken >&2; exit 7");
  EXPECT_NE(failure().find("ended with exit code 7 (stderr: broken)"), std::string::npos);
  shell("kill -SEGV $$");
  EXPECT_NE(failure().find("signal 11"), std::string::npos);
  shell("sleep 30");
  scenario_["limits"]["sample_timeout_s"] = 0.2;
  EXPECT_NE(failure().find("no end within the limit of 0.2 s"), std::string::npos);
  scenario_["workload"]["command"] = {"no-such-program-anywhere"};
  EXPECT_NE(failure().find("no such program in PATH"), std::string::npos);
}

TEST_F(External, TreatsWhatIsNoNumberAsAFailedSample) {
  scenario_["workload"]["metrics"] = {{"t_s", {{"regex", "t=(\\S+)"}}}};
  scenario_["plan"]["primary"] = "t_s";
  for (const char* printed : {"t=nan", "t=inf", "t=1,5", "t=0x10", "t=", "nothing"}) {
    shell(std::string("echo ") + printed);
    EXPECT_NE(failure().find("metric t_s:"), std::string::npos) << printed;
  }
  scenario_["workload"]["metrics"] = {{"t_s", {{"json", "/t"}}}};
  for (const char* printed : {"{}", "{\"t\": null}", "{\"t\": [1]}", "{\"t\": 1e999}", "garbage", "[[["}) {
    shell(std::string("echo '") + printed + "'");
    EXPECT_NE(failure().find("metric t_s:"), std::string::npos) << printed;
  }
  shell("head -c 3000000 /dev/zero | tr '\\0' '['");
  EXPECT_NE(failure().find("nests deeper"), std::string::npos);
}

TEST_F(External, ComparesOutputs) {
  scenario_["workload"]["output"] = {{"regex", "answer (.*)"}};
  scenario_["plan"]["threshold_percent"] = 1000;
  shell("echo answer 42");
  EXPECT_EQ(run().verdict.word, Word::kEquivalent);
  shell("echo answer $0 {arm}");
  EXPECT_EQ(run().verdict.word, Word::kInvalid);
  shell("echo none");
  EXPECT_NE(failure().find("no match of the output regex"), std::string::npos);
}

TEST_F(External, RunsPrepareAndCleanupUntimed) {
  const std::string log = (folder_ / "log").string();
  scenario_["workload"]["prepare"] = {"sh", "-c", "sleep 0.05; echo p{sample} >> " + log};
  scenario_["workload"]["cleanup"] = {"sh", "-c", "echo c{sample} >> " + log};
  shell("echo r{sample} >> " + log);
  const RunOutcome outcome = run();
  EXPECT_TRUE(read_text_file(log).starts_with("p0\nr0\nc0\np1\nr1\nc1\n"));
  double fastest_s = 1;
  for (const Sample& sample : outcome.samples) fastest_s = std::min(fastest_s, sample.metrics.at("wall_s"));
  EXPECT_LT(fastest_s, 0.05);
  scenario_["workload"]["prepare"] = {"false"};
  EXPECT_NE(failure().find("the prepare command 'false' ended with exit code 1"), std::string::npos);
}

TEST_F(External, SetsThePageCacheOfItsFiles) {
  const std::filesystem::path data = folder_ / "data";
  std::ofstream(data) << std::string(1 << 20, 'x');
  shell("cat " + data.string() + " > /dev/null");
  scenario_["plan"]["threshold_percent"] = 1000;
  scenario_["workload"]["files"] = {data.string()};
  for (const char* state : {"cold", "warm"}) {
    scenario_["workload"]["page_cache"] = state;
    RunOutcome outcome;
    try {
      outcome = run();
    } catch (const std::runtime_error& error) {
      GTEST_SKIP() << "residency cannot be set here: " << error.what();
    }
    for (const Sample& sample : outcome.samples) {
      EXPECT_EQ(sample.page_cache->state, state);
      EXPECT_EQ(sample.page_cache->bytes_total, 1 << 20);
    }
  }
  scenario_["workload"]["page_cache"] = "cold";
  scenario_["arms"]["B"]["workload"] = {{"page_cache", "warm"}};
  const RunOutcome unlike = run();
  EXPECT_EQ(unlike.verdict.word, Word::kInvalid);
  EXPECT_NE(unlike.verdict.reason.find("page cache was cold for A and warm for B"), std::string::npos);
}

TEST_F(External, RefusesBeforeTheFirstSample) {
  scenario_["workload"]["metrics"] = {{"t_s", {{"regex", "([0-9"}}}};
  EXPECT_NE(failure().find("regex '([0-9' is wrong"), std::string::npos);
  scenario_["workload"]["metrics"] = {{"t_s", {{"json", "no-slash"}}}};
  EXPECT_NE(failure().find("no JSON pointer"), std::string::npos);
  scenario_["workload"]["metrics"] = {{"wall_s", json::object()}};
  scenario_["workload"]["page_cache"] = "cold";
  EXPECT_NE(failure().find("names no files"), std::string::npos);
}

TEST(Regex, TakesTheLastMatchAndItsFirstGroup) {
  EXPECT_EQ(last_match("a(.)", "ab ac"), "c");
  EXPECT_EQ(last_match("a.", "ab ac"), "ac");
  EXPECT_EQ(last_match("x*", "ab"), "");
  EXPECT_EQ(last_match("^t (.*)$", "t 1\nt 2\n"), "2");
  EXPECT_FALSE(last_match("z", "ab").has_value());
  EXPECT_THROW(last_match("(a+)+$", std::string(50000, 'a') + "b"), std::runtime_error) << "bounded, not for ever";
}

}  // namespace
}  // namespace crossover
