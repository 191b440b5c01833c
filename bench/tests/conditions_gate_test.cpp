// Every gate over conditions: once where it speaks, once where it stays silent.
#include <gtest/gtest.h>

#include "bench/judge/gates.h"
#include "bench/tests/gate_simulation.h"

namespace crossover {
namespace {

using nlohmann::json;

const GateResult& gate_of(const Verdict& verdict, const std::string& name) {
  for (const GateResult& gate : verdict.cells.at(0).gates)
    if (gate.gate == name) return gate;
  throw std::out_of_range("no gate " + name);
}

// Speaks with `alter`: the run is void and that gate says why, with what to do behind a semicolon.
void expect_speaks(const json& scenario, const std::string& gate, const std::string& why, Alter alter) {
  const Verdict verdict = judge_simulated(scenario, altered(std::move(alter)));
  EXPECT_EQ(verdict.word, Word::kInvalid) << why;
  EXPECT_EQ(gate_of(verdict, gate).state, "fail") << why;
  EXPECT_NE(verdict.reason.find(why), std::string::npos) << verdict.reason;
  EXPECT_NE(verdict.reason.find_first_of(";:"), std::string::npos) << verdict.reason;
}

void expect_silent(const json& scenario, const std::string& gate, const std::string& state, Alter alter) {
  const Verdict verdict = judge_simulated(scenario, altered(std::move(alter)));
  EXPECT_EQ(verdict.word, Word::kEquivalent) << verdict.reason;
  EXPECT_EQ(gate_of(verdict, gate).state, state);
}

Alter with_page_cache(const char* a, const char* b) {
  return [=](const SampleRequest& request, Sample& sample) { sample.page_cache = PageCacheState{request.arm == 'A' ? a : b, 370, 1000}; };
}

TEST(PageCacheGate, SpeaksOfPairsThatDifferAndOfStatesThatWereNotAskedFor) {
  json scenario = scenario_json();
  expect_speaks(scenario, "page_cache", "cold for A and warm for B", with_page_cache("cold", "warm"));
  expect_silent(scenario, "page_cache", "pass", with_page_cache("partial", "partial"));
  expect_silent(scenario, "page_cache", "not recorded", nullptr);
  scenario["workload"]["page_cache"] = "cold", scenario["workload"]["files"] = {"data"};
  expect_speaks(scenario, "page_cache", "should have started with a cold page cache and found it partial (37.0 % resident)", with_page_cache("partial", "partial"));
  expect_speaks(scenario, "page_cache", "is not recorded", nullptr);
  expect_silent(scenario, "page_cache", "pass", with_page_cache("cold", "cold"));
}

TEST(ConditionsGate, SpeaksOfAThrottledSample) {
  expect_speaks(scenario_json(), "conditions", "throttled machine", [](const SampleRequest& request, Sample& sample) {
    if (request.position == 3) sample.flags.push_back("throttled: the clock was lowered 3 times by heat or power");
  });
  expect_silent(scenario_json(), "conditions", "pass", [](const SampleRequest&, Sample& sample) { sample.counters["machine.throttle_events"] = 0; });
}

TEST(ConditionsGate, SpeaksOfCoresAndPriorityThatWereNotGranted) {
  json scenario = scenario_json();
  const auto granted = [](std::vector<int> cpus, int priority) {
    return [=](const SampleRequest&, Sample& sample) { sample.cpus = cpus, sample.priority = priority; };
  };
  expect_silent(scenario, "conditions", "pass", granted({0, 1}, 5));
  scenario["workload"]["cpus"] = "2-3,6", scenario["workload"]["priority"] = -5;
  expect_silent(scenario, "conditions", "pass", granted({2, 3, 6}, -5));
  expect_silent(scenario, "conditions", "pass", nullptr);  // of a target that has no process
  expect_speaks(scenario, "conditions", "should have run on cores 2-3,6 and was given 2-4", granted({2, 3, 4}, -5));
  expect_speaks(scenario, "conditions", "with priority -5 and was given 0", granted({2, 3, 6}, 0));
}

TEST(ConditionsGate, SpeaksOfCoresThatChangedOnTheWay) {
  const auto moved_at = [](int position) {
    return [=](const SampleRequest& request, Sample& sample) { sample.cpus = request.position >= position ? std::vector{0} : std::vector{0, 1}; };
  };
  expect_speaks(scenario_json(), "conditions", "sample 0 was allowed cores 0-1 and sample 5 cores 0;", moved_at(5));
  expect_silent(scenario_json(), "conditions", "pass", moved_at(0));
  json asked = scenario_json();
  asked["arms"]["B"]["workload"]["cpus"] = "0";
  asked["arms"]["A"]["workload"]["cpus"] = "0-1";
  expect_silent(asked, "conditions", "pass", [](const SampleRequest& request, Sample& sample) {
    sample.cpus = request.arm == 'A' ? std::vector{0, 1} : std::vector{0};
  });
}

TEST(ReuseGate, SpeaksOfEveryReusedToken) {
  const auto reusing = [](double tokens) {
    return [=](const SampleRequest& request, Sample& sample) { sample.counters["reused_tokens"] = request.position == 7 ? tokens : 0; };
  };
  expect_speaks(scenario_json(), "reuse", "took 12 tokens from a prefix cache", reusing(12));
  expect_silent(scenario_json(), "reuse", "pass", reusing(0));
  expect_silent(scenario_json(), "reuse", "not recorded", nullptr);
}

TEST(LimitsGate, SpeaksOfWhatCannotBe) {
  expect_speaks(scenario_json(), "limits", "impossible: 900 GB/s", [](const SampleRequest& request, Sample& sample) {
    if (request.position == 3) sample.flags.push_back("impossible: 900 GB/s read");
  });
  expect_speaks(scenario_json(), "limits", "an impossible wall_s of 0", [](const SampleRequest& request, Sample& sample) {
    if (request.position == 3) sample.metrics["wall_s"] = 0;
  });
  const auto lived = [](double wall_s, bool ours = true) {
    return [=](const SampleRequest&, Sample& sample) {
      sample.counters["process.wall_s"] = wall_s;
      if (ours) sample.main_started_s = 1;
      sample.metrics["load.total_s"] = 1, sample.metrics["prefill.total_s"] = 0.5, sample.metrics["decode.total_s"] = 0.25;
    };
  };
  expect_speaks(scenario_json(), "limits", "1.75 s of load, prefill and decode, and its process lived 1.7 s", lived(1.7));
  expect_silent(scenario_json(), "limits", "pass", lived(1.76));
  expect_silent(scenario_json(), "limits", "pass", lived(1.7, false));  // a client may report what its server took
}

// Time that is moved out of the window of a phase leaves a hole, and time counted twice a surplus.
TEST(BoundariesGate, SpeaksOfPhasesThatDoNotSum) {
  const auto phases = [](double read_s, double total_s) {
    return [=](const SampleRequest&, Sample& sample) {
      sample.metrics["load.total_s"] = total_s;
      sample.phases = {{"load", 0, 0, 1, std::nullopt, -1}, {"load.read", 0, 0, read_s, std::nullopt, 0}, {"load.cast", 0, 0, 0.4, std::nullopt, 0}};
    };
  };
  expect_silent(scenario_json(), "boundaries", "pass", phases(0.6, 1));
  expect_silent(scenario_json(), "boundaries", "pass", phases(0.59, 1.01));
  expect_silent(scenario_json(), "boundaries", "not recorded", nullptr);
  expect_speaks(scenario_json(), "boundaries", "phases of load in sample 0 (rank 0) sum to 0.9 s and it took 1 s", phases(0.5, 1));
  expect_speaks(scenario_json(), "boundaries", "sum to 1.2 s", phases(0.8, 1));
  expect_speaks(scenario_json(), "boundaries", "load.total_s of sample 0 is 1.1 s and its phases cover 1 s", phases(0.6, 1.1));
}

Alter with_context(double capacity_a, double capacity_b, double used_a, double used_b) {
  return [=](const SampleRequest& request, Sample& sample) {
    sample.counters["tokens.capacity"] = request.arm == 'A' ? capacity_a : capacity_b;
    sample.counters["tokens.used"] = request.arm == 'A' ? used_a : used_b;
  };
}

TEST(CapacityGate, SpeaksOfContextThatIsAHiddenArm) {
  json scenario = scenario_json();
  expect_silent(scenario, "capacity", "pass", with_context(1024, 1024, 512, 512));
  expect_silent(scenario, "capacity", "not recorded", nullptr);
  expect_speaks(scenario, "capacity", "used 2000 tokens of context and allocated 1024", with_context(1024, 1024, 2000, 2000));
  expect_speaks(scenario, "capacity", "processed 512 tokens and B 500", with_context(1024, 1024, 512, 500));
  expect_speaks(scenario, "capacity", "tokens.capacity and not tokens.used",
                [](const SampleRequest&, Sample& sample) { sample.counters["tokens.capacity"] = 1; });
  expect_silent(scenario, "capacity", "pass", with_context(1024, 4096, 512, 512));  // the capacity is all that differs
  scenario["arms"]["B"]["knobs"] = {{"CROSSOVER_MOE", "grouped"}};
  expect_speaks(scenario, "capacity", "A allocates 1024 tokens of context and B 4096", with_context(1024, 4096, 512, 512));
}

bool has_flag(const Verdict& verdict, const std::string& part) {
  for (const std::string& flag : verdict.cells.at(0).flags)
    if (flag.find(part) != std::string::npos) return true;
  return false;
}

TEST(CellFlags, CountSamplesThatWereDisturbed) {
  const Verdict verdict = judge_simulated(scenario_json(), altered([](const SampleRequest& request, Sample& sample) {
    if (request.position == 0) sample.flags.push_back("first");
    if (request.position % 4 == 1) sample.flags.push_back("interference: other programs computed 0.30 s beside it");
    if (request.position == 2) sample.flags.push_back("oversubscribed");
  }));
  EXPECT_EQ(verdict.word, Word::kEquivalent);
  EXPECT_TRUE(has_flag(verdict, "interference in 4 of 16 samples (sample "));
  EXPECT_TRUE(has_flag(verdict, "oversubscribed in 1 of 16 samples"));
  EXPECT_FALSE(has_flag(verdict, "first"));
}

TEST(CellFlags, TellUnlikeClocks) {
  const auto at = [](double a_mhz, double b_mhz) {
    return altered([=](const SampleRequest& request, Sample& sample) {
      sample.clocks = json{{"mhz", {800.0, request.arm == 'A' ? a_mhz : b_mhz + 0.1 * request.pair}}}.dump();
    });
  };
  EXPECT_TRUE(judge_simulated(scenario_json(), at(3000, 3000)).cells[0].flags.empty());
  const Verdict spread = judge_simulated(scenario_json(), at(3000, 2000));
  EXPECT_EQ(spread.word, Word::kEquivalent);  // said, not void: a knob may change the clock
  EXPECT_TRUE(has_flag(spread, "clocks: samples ran at 2000 to 3000 MHz"));
  EXPECT_TRUE(has_flag(spread, "clocks: B ran at a clock -33.3"));
  EXPECT_TRUE(has_flag(judge_simulated(scenario_json(), at(3000, 2940)), "clocks: B ran at a clock -1.9"));
}

TEST(CellFlags, TellTimeInNoPhase) {
  json scenario = scenario_json();
  scenario["workload"]["metrics"] = {{"load.total_s", {{"regex", "x"}}}};
  scenario["plan"]["primary"] = "load.total_s";
  const auto with_other = [](double other_s) {
    return altered([=](const SampleRequest&, Sample& sample) { sample.metrics = {{"load.total_s", 1}, {"load.read_s", 1 - other_s}, {"load.other_s", other_s}}; });
  };
  EXPECT_TRUE(has_flag(judge_simulated(scenario, with_other(0.05)), "unexplained: 5.0 % of load.total_s is in no phase"));
  EXPECT_FALSE(has_flag(judge_simulated(scenario, with_other(0.01)), "unexplained"));
}

TEST(CellFlags, TellSecondsThatMustBeMilliseconds) {
  const auto lived = [](double wall_s) {
    return altered([=](const SampleRequest&, Sample& sample) { sample.cpus = {0, 1}, sample.counters["process.wall_s"] = wall_s, sample.metrics["took_s"] = 350; });
  };
  EXPECT_TRUE(has_flag(judge_simulated(scenario_json(), lived(0.8)), "unit?: took_s is 350 s in sample 0, whose process lived 0.8 s"));
  EXPECT_FALSE(has_flag(judge_simulated(scenario_json(), lived(200)), "unit?"));  // two cores' worth of seconds
}

TEST(SampleClock, IsThatOfTheWorkWhereItIsCounted) {
  Sample sample;
  EXPECT_FALSE(sample_mhz(sample));
  sample.clocks = "{\"mhz\": [1200, 3100, \"x\"]}";
  EXPECT_DOUBLE_EQ(*sample_mhz(sample), 3100);
  sample.counters = {{"perf.cycles", 5e9}, {"perf.task_clock_s", 2}};
  EXPECT_DOUBLE_EQ(*sample_mhz(sample), 2500);
  sample.counters.clear(), sample.clocks = "not JSON";
  EXPECT_FALSE(sample_mhz(sample));
}

}  // namespace
}  // namespace crossover
