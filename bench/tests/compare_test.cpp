#include "bench/history/compare.h"

#include <gtest/gtest.h>

#include <cmath>
#include <stdexcept>

#include "bench/history/both_builds.h"
#include "bench/tests/nights.h"

namespace crossover {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

// Nights of builds c0, c1, ... with the given means of arm A; arm B stands still at A's first.
void add_nights(History& history, const std::vector<double>& means_ln) {
  for (std::size_t i = 0; i < means_ln.size(); ++i) {
    const int night = static_cast<int>(i);
    history.add(night_run(night, "c" + std::to_string(night), means_ln[i], means_ln[0]), "{}");
  }
}

CompareOptions arm_a() {
  CompareOptions options;
  options.arm = "A";
  return options;
}

const std::vector<double> kScatter{0.012, -0.004, 0.021, 0.007, -0.013, 0.002, 0.016, -0.009, 0.005};

// Numbers of SciPy 1.17: stats.t.ppf(0.975, 8) and stats.t.sf, s = std(ddof=1), s sqrt(1 + 1/9).
TEST(Compare, HoldsTonightAgainstThePredictionIntervalOfOneMoreRun) {
  History history(":memory:", /*create=*/true);
  add_nights(history, kScatter);
  const RunRecord base = night_run(8, "c8", kScatter.back(), 0.012);
  const Comparison found = compare(base, night_run(9, "c9", 0.034, 0.012), &history, arm_a());
  const ComparedPoint& point = found.points.at(0);
  EXPECT_EQ(point.earlier, 9);
  EXPECT_NEAR(*point.centre_ln, 0.004111111111111111, 1e-15);
  EXPECT_NEAR(*point.sd_ln, 0.011362707032706209, 1e-15);
  EXPECT_NEAR(point.interval_ln->low, 0.002269082091005542, 1e-12);
  EXPECT_NEAR(point.interval_ln->high, 0.05750869568677224, 1e-12);
  EXPECT_NEAR(*point.p_value, 0.03720477656819272, 1e-12);
  EXPECT_EQ(found.word, Word::kSlower);
  EXPECT_NE(found.reason.find("NEW is 3.03 % slower than before in t_s of arm A"), std::string::npos) << found.reason;
}

struct SimulatedNight {
  RunPoint arms[2];
};

// Eight samples of each arm; between nights as much scatter as within one.
SimulatedNight simulated_night(Random& random) {
  constexpr double kSigma = 0.02;
  constexpr int kSamples = 8;
  const double luck = kSigma * normal(random);
  SimulatedNight night;
  for (RunPoint& arm : night.arms) {
    double sum = 0, squares = 0;
    for (int i = 0; i < kSamples; ++i) {
      const double value = luck + kSigma * normal(random);
      sum += value, squares += value * value;
    }
    arm.n = kSamples, arm.value_ln = sum / kSamples, arm.sd_ln = std::sqrt((squares - sum * sum / kSamples) / (kSamples - 1));
  }
  return night;
}

// What a t test over the samples would do: 2 P(t_14 > t_{14, .975} / 3) = 48.6 % false alarms.
TEST(Compare, CountingSamplesRaisesFalseAlarmsInHalfOfThePairsOfNights) {
  Random random{1};
  int alarms = 0;
  for (int pair = 0; pair < 4000; ++pair) {
    const RunPoint base = simulated_night(random).arms[0], next = simulated_night(random).arms[0];
    const double se = std::sqrt((*base.sd_ln * *base.sd_ln + *next.sd_ln * *next.sd_ln) / base.n);
    alarms += std::abs(next.value_ln - base.value_ln) > student_t_quantile(0.975, 14) * se ? 1 : 0;
  }
  EXPECT_NEAR(alarms / 4000.0, 0.486, 0.03);
}

// The run as the unit keeps to its 5 %, both arms judged.
TEST(Compare, ScatterBetweenNightsRaisesNoFalseAlarms) {
  constexpr int kExperiments = 300;
  for (const int nights : {8, 20}) {
    int alarms = 0;
    for (int experiment = 0; experiment < kExperiments; ++experiment) {
      Random random{static_cast<std::uint64_t>(1000 * nights + experiment)};
      History history(":memory:", /*create=*/true);
      std::vector<RunRecord> runs;
      for (int night = 0; night <= nights; ++night) {
        const SimulatedNight one = simulated_night(random);
        runs.push_back(night_run(night, "c" + std::to_string(night), one.arms[0].value_ln, one.arms[1].value_ln));
        if (night < nights) history.add(runs.back(), "{}");
      }
      const Word word = compare(runs[runs.size() - 2], runs.back(), &history).word;
      alarms += word == Word::kSlower || word == Word::kFaster ? 1 : 0;
    }
    RecordProperty("alarms_after_" + std::to_string(nights), alarms);
    EXPECT_LT(alarms, 0.085 * kExperiments) << nights;  // 5 % with a standard error of 1.3 %
  }
}

TEST(Compare, AChangeBeyondTheScatterIsFoundInDirection) {
  History history(":memory:", /*create=*/true);
  add_nights(history, kScatter);
  const RunRecord base = night_run(8, "c8", kScatter.back(), 0.012);
  EXPECT_EQ(compare(base, night_run(9, "c9", 0.06, 0.012), &history).word, Word::kSlower);
  EXPECT_EQ(compare(base, night_run(9, "c9", -0.06, 0.012), &history, arm_a()).word, Word::kFaster);
  EXPECT_EQ(compare(base, night_run(9, "c9", -0.06, 0.012), &history).word, Word::kEquivalent) << "the worst arm speaks: B stands still";
  RunRecord rate_base = base, rate = night_run(9, "c9", 0.06, 0.012);
  History rates(":memory:", /*create=*/true);
  for (int night = 0; night < 9; ++night) {
    RunRecord run = night_run(night, "c" + std::to_string(night), kScatter[static_cast<std::size_t>(night)], 0.012);
    for (RunPoint& point : run.points) point.higher_is_better = true;
    rates.add(run, "{}");
  }
  for (RunRecord* run : {&rate_base, &rate})
    for (RunPoint& point : run->points) point.higher_is_better = true;
  const Comparison found = compare(rate_base, rate, &rates, arm_a());
  EXPECT_EQ(found.word, Word::kFaster);
  EXPECT_LT(*found.points.at(0).change_ln, 0);
}

TEST(Compare, EquivalentNeedsTheWholeIntervalInsideTheThreshold) {
  History history(":memory:", /*create=*/true);
  std::vector<double> quiet = kScatter;
  for (double& value : quiet) value *= 0.1;
  add_nights(history, quiet);
  RunRecord base = night_run(8, "c8", quiet.back(), 0.0012), next = night_run(9, "c9", 0.001, 0.0012);
  EXPECT_EQ(compare(base, next, &history).word, Word::kInconclusive);  // next to no threshold
  next.tau_ln = 0.02;
  const Comparison found = compare(base, next, &history);
  EXPECT_EQ(found.word, Word::kEquivalent);
  EXPECT_TRUE(found.remedy_arm.empty());
  next.points[0].value_ln = 0.015;  // outside the interval, inside the threshold
  EXPECT_EQ(compare(base, next, &history, arm_a()).word, Word::kEquivalent);
}

TEST(Compare, WithoutHistoryTheWordIsInconclusiveWhateverTheNumbers) {
  const RunRecord base = night_run(1, "c1", 0, 0), next = night_run(2, "c2", 0.7, 0);
  const Comparison alone = compare(base, next, nullptr);
  EXPECT_EQ(alone.word, Word::kInconclusive);
  EXPECT_NE(alone.reason.find("run both builds in one plan"), std::string::npos) << alone.reason;
  EXPECT_NE(alone.reason.find("t_s of arm A differs by +101.38 %"), std::string::npos) << alone.reason;
  EXPECT_EQ(alone.remedy_arm, "A");
  History history(":memory:", /*create=*/true);
  add_nights(history, {0, 0.001, 0.002, 0.001, 0, 0.001});  // and BASE are seven
  const Comparison short_history = compare(night_run(6, "c6", 0, 0), night_run(7, "c7", 0.7, 0), &history);
  EXPECT_EQ(short_history.points[0].earlier, 7);
  EXPECT_EQ(short_history.word, Word::kInconclusive);
  history.add(night_run(6, "c6", 0, 0), "{}");
  EXPECT_EQ(compare(night_run(6, "c6", 0, 0), night_run(7, "c7", 0.7, 0), &history).points[0].earlier, 7) << "BASE counts once";
}

// Ten nights, a regression that was accepted, ten nights more.
TEST(Compare, OnlyRunsAtTheLevelOfBaseSayHowFarRunsScatter) {
  History history(":memory:", /*create=*/true);
  std::vector<double> means;
  for (int night = 0; night < 20; ++night) means.push_back((night < 10 ? 0 : 0.1) + 0.3 * kScatter[static_cast<std::size_t>(night % 9)]);
  add_nights(history, means);
  const auto night = [&](int at) { return night_run(at, "c" + std::to_string(at), means[static_cast<std::size_t>(at)], 0); };
  const Comparison usual = compare(night(19), night_run(20, "c20", 0.101, 0), &history, arm_a());
  EXPECT_EQ(usual.points[0].earlier, 10);
  EXPECT_EQ(usual.points[0].level_since, "c10");
  EXPECT_NE(usual.word, Word::kSlower);
  const Comparison release = compare(night(4), night_run(20, "c20", 0.101, 0), &history, arm_a());
  EXPECT_EQ(release.points[0].earlier, 10);
  EXPECT_EQ(release.word, Word::kSlower) << "against a build from before the regression";
}

TEST(Compare, RunsOfNewsOwnBuildAreNoPartOfTheLevelOfBase) {
  History history(":memory:", /*create=*/true);
  add_nights(history, kScatter);
  for (int night = 9; night < 12; ++night) history.add(night_run(night, "new", 0.06, 0.012), "{}");
  const Comparison found = compare(night_run(8, "c8", kScatter.back(), 0.012), night_run(12, "new", 0.06, 0.012), &history, arm_a());
  EXPECT_EQ(found.points[0].earlier, 9);
  EXPECT_EQ(found.word, Word::kSlower);
}

TEST(Compare, NamesAndRefusesWhatIsUnlike) {
  const RunRecord base = night_run(1, "c1", 0, 0);
  const auto refusal = [&](const RunRecord& next, const CompareOptions& options = {}) -> std::string {
    try {
      compare(base, next, nullptr, options);
    } catch (const std::runtime_error& error) {
      return error.what();
    }
    return "";
  };
  RunRecord machine = base, flags = base, scenario = base, cache = base;
  machine.machine = "other", machine.hardware = R"({"cpu":{"model":"big"}})";
  flags.flags = R"({"flags":"-O3"})";
  scenario.asked = R"({"plan":{"pairs":16}})";
  cache.points[0].page_cache = "cold";
  EXPECT_EQ(refusal(base), "");
  EXPECT_NE(refusal(machine).find("unlike machine: /cpu is absent in BASE and {\"model\":\"big\"} in NEW"), std::string::npos) << refusal(machine);
  EXPECT_NE(refusal(flags).find("unlike flags: /flags is absent in BASE and \"-O3\" in NEW"), std::string::npos) << refusal(flags);
  EXPECT_NE(refusal(scenario).find("unlike scenario: /plan"), std::string::npos) << refusal(scenario);
  EXPECT_NE(refusal(cache).find("unlike page-cache: before the samples of arm A it was warm in BASE and cold in NEW"), std::string::npos);
  machine.flags = flags.flags;
  EXPECT_NE(refusal(machine).find("--allow-unlike machine,flags"), std::string::npos) << refusal(machine);
  CompareOptions options;
  options.allow_unlike = {"machine", "flags"};
  EXPECT_EQ(refusal(machine, options), "");
  EXPECT_EQ(compare(base, machine, nullptr, options).unlike.size(), 2U);
}

TEST(Compare, AnInvalidRunMakesItInvalid) {
  History history(":memory:", /*create=*/true);
  add_nights(history, kScatter);
  RunRecord next = night_run(9, "c9", 0.06, 0.012);
  next.word = "INVALID", next.reason = "throttled";
  const Comparison found = compare(night_run(8, "c8", kScatter.back(), 0.012), next, &history);
  EXPECT_EQ(found.word, Word::kInvalid);
  EXPECT_NE(found.reason.find("NEW is INVALID (throttled)"), std::string::npos);
  history.add(next, "{}");
  EXPECT_EQ(history.points("t_s", {}).size(), 18U) << "an invalid run says nothing of the scatter";
}

TEST(Compare, AMetricThatIsNotThereIsNamedWithThoseThatAre) {
  CompareOptions options;
  options.metrics = {"x_s"};
  try {
    compare(night_run(1, "a", 0, 0), night_run(2, "b", 0, 0), nullptr, options);
    ADD_FAILURE();
  } catch (const std::invalid_argument& error) {
    EXPECT_NE(std::string(error.what()).find("no metric x_s in common; they have t_s"), std::string::npos) << error.what();
  }
}

// Real files of an external program: every metric has its row, only the primaries decide.
TEST(Compare, ShowsEveryMetricAndJudgesThePrimary) {
  History history(":memory:", /*create=*/true);
  for (int night = 0; night < 10; ++night) {
    const ordered_json result = night_result({night, "", 1 + 0.001 * (night % 3)});
    history.add(make_run_record(result), result.dump());
  }
  const RunRecord base = make_run_record(night_result({9, "", 1}));
  const Comparison found = compare(base, make_run_record(night_result({10, "", 1.2})), &history);
  EXPECT_EQ(found.word, Word::kSlower);
  EXPECT_EQ(found.points.size(), 6U);  // wall_s and control_s in A, B, effect
  int judged = 0;
  for (const ComparedPoint& point : found.points) {
    judged += point.judged ? 1 : 0;
    EXPECT_EQ(point.judged, point.next.metric == "wall_s" && point.next.arm != "effect");
    if (point.next.arm != "effect") continue;
    EXPECT_NE(point.word, Word::kSlower) << point.next.metric;  // both arms became slower alike
  }
  EXPECT_EQ(judged, 2);
}

TEST(BothBuilds, AScenarioThatRunsTheArmInBothBuilds) {
  json asked = scenario_json();
  asked["arms"]["B"] = {{"workload", {{"env", {{"X", "1"}}}}}};
  asked["sweep"] = {{"/arms/B/workload/env/Y", {"1", "2"}}, {"/arms/A/workload/priority", {0, 1}}, {"/workload/cooldown_s", {0, 1}}};
  asked["expect"]["differs"] = {"path.kernel"};
  asked["expect"]["path"] = {{"B.kernel", "one"}, {"A.kernel", "two"}};
  const ordered_json result{{"scenario", asked}};
  const Scenario both = parse_scenario(both_builds_scenario(result, "B"), "both");
  ASSERT_EQ(both.cells.size(), 4U);
  for (const Cell& cell : both.cells) EXPECT_EQ(cell.a.workload, cell.b.workload);
  EXPECT_EQ(json::parse(both.cells[0].a.workload)["env"]["X"], "1");
  EXPECT_TRUE(both.expect.differs.empty());
  EXPECT_EQ(both.expect.path, (std::map<std::string, std::string>{{"kernel", "one"}}));
  EXPECT_EQ(both_builds_command(result, "both plans.json", "abc", "d'f"),
            "crossover run 'both plans.json' --set '/arms/A/workload/command=[\"/PATH/OF/abc/true\"]' "
            "--set '/arms/B/workload/command=[\"/PATH/OF/d_f/true\"]'");
  EXPECT_THROW(both_builds_scenario(ordered_json{{"scenario", 3}}, "A"), std::runtime_error);
}

}  // namespace
}  // namespace crossover
