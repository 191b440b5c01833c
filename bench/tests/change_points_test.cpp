#include "bench/history/change_points.h"

#include <gtest/gtest.h>

#include <stdexcept>

#include "bench/history/trend.h"
#include "bench/tests/nights.h"

namespace crossover {
namespace {

std::vector<double> white(int n, std::uint64_t seed) {
  Random random{seed};
  std::vector<double> values;
  for (int i = 0; i < n; ++i) values.push_back(normal(random));
  return values;
}

std::vector<std::size_t> places(const std::vector<ChangePoint>& found) {
  std::vector<std::size_t> at;
  for (const ChangePoint& change : found) at.push_back(change.at);
  return at;
}

// Both edges and their order of discovery are those of a second implementation (plain loops in NumPy 2.4).
TEST(ChangePoints, ALevelThatComesAndGoesIsFound) {
  const std::vector<double> values{0.0,  0.3,  -0.27, -0.89, -0.45, -0.99, 0.06,  1.34, -0.49, 1.88,  2.99,  2.86,
                                   2.61, 1.57, 2.47,  3.2,   -0.84, 0.04,  -1.4, -0.79, -1.34, 0.26, -0.77, 0.77};
  EXPECT_EQ(places(change_points(values)), (std::vector<std::size_t>{9, 16}));
}

// 1000 series without a change at a nominal rate of 5 %; the standard error of the share is 0.7 %.
TEST(ChangePoints, FalseAlarmsComeAtTheirNominalRate) {
  ChangePointOptions options;
  options.permutations = 199;
  int alarms = 0;
  for (std::uint64_t series = 1; series <= 1000; ++series) alarms += change_points(white(16, 1000 + series), options).empty() ? 0 : 1;
  EXPECT_GT(alarms, 25);
  EXPECT_LT(alarms, 75);
}

TEST(ChangePoints, HeavyTailsRaiseNoMoreAlarms) {
  ChangePointOptions options;
  options.permutations = 199;
  int alarms = 0;
  for (std::uint64_t series = 1; series <= 400; ++series) {
    std::vector<double> values = white(20, 5000 + series);
    for (double& value : values) value = value * value * value;
    alarms += change_points(values, options).empty() ? 0 : 1;
  }
  EXPECT_LT(alarms, 36);  // 5 % is 20, its standard error 4.4
}

TEST(ChangePoints, APlantedStepIsFoundAtItsRun) {
  ChangePointOptions options;
  options.permutations = 199;
  int exact = 0, near = 0;
  for (std::uint64_t series = 1; series <= 200; ++series) {
    std::vector<double> values = white(25, 9000 + series);
    for (std::size_t i = 15; i < values.size(); ++i) values[i] += 4;
    const auto found = change_points(values, options);
    for (const ChangePoint& change : found) exact += change.at == 15 ? 1 : 0, near += change.at >= 14 && change.at <= 16 ? 1 : 0;
  }
  EXPECT_GT(exact, 170);
  EXPECT_GT(near, 195);
}

TEST(ChangePoints, OneSeedGivesOneAnswer) {
  std::vector<double> values = white(30, 3);
  for (std::size_t i = 20; i < values.size(); ++i) values[i] += 1.5;
  const auto once = change_points(values), again = change_points(values);
  ASSERT_EQ(places(once), places(again));
  for (std::size_t i = 0; i < once.size(); ++i) EXPECT_EQ(once[i].p_value, again[i].p_value);
}

TEST(ChangePoints, SeriesTooShortForTheRateShowNone) {
  EXPECT_EQ(fewest_values(0.05), 8);   // 2 / C(8, 4) = 0.029, 2 / C(6, 3) = 0.1
  EXPECT_EQ(fewest_values(0.01), 10);  // 2 / C(10, 5) = 0.0079
  EXPECT_TRUE(change_points({0, 0, 0, 9, 9, 9}).empty());
  EXPECT_EQ(places(change_points({0, 0.1, 0.2, 0.3, 9, 9.1, 9.2, 9.3})), (std::vector<std::size_t>{4}));
  EXPECT_TRUE(change_points({}).empty());
  EXPECT_TRUE(change_points(std::vector<double>(40, 1.0)).empty());
}

TEST(ChangePoints, RefusesWhatIsNoNumberAndNoRate) {
  EXPECT_THROW(change_points({1, std::nan(""), 2}), std::invalid_argument);
  ChangePointOptions options;
  options.false_alarms = 0;
  EXPECT_THROW(change_points({1, 2}, options), std::invalid_argument);
}

// A build has a luck of its own (the layout of its code): three runs of it are no three witnesses of a change.
TEST(Trend, RunsOfOneBuildAreRepeatsOfIt) {
  ChangePointOptions options;
  options.permutations = 199;
  int by_build = 0, by_run = 0;
  for (std::uint64_t experiment = 1; experiment <= 150; ++experiment) {
    Random random{experiment};
    std::vector<HistoryPoint> points;
    std::vector<double> runs;
    for (int build = 0; build < 10; ++build) {
      const double own = normal(random);
      for (int repeat = 0; repeat < 3; ++repeat) {
        HistoryPoint at;
        at.label = at.point.build = "c" + std::to_string(build), at.point.value_ln = own + 0.2 * normal(random);
        runs.push_back(at.point.value_ln);
        points.push_back(at);
      }
    }
    by_build += trends(points, options).at(0).changes.empty() ? 0 : 1;
    by_run += change_points(runs, options).empty() ? 0 : 1;
  }
  EXPECT_LT(by_build, 18);  // 5 % is 7.5
  EXPECT_GT(by_run, 75);    // what counting runs would do
}

TEST(Trend, NamesTheBuildWithWhichALevelBegan) {
  History history(":memory:", /*create=*/true);
  Random random{5};
  for (int night = 0; night < 24; ++night) {
    const int build = night / 2;  // two runs each
    const double level = build < 7 ? 0.0 : 0.05;
    history.add(night_run(night, "c" + std::to_string(build), level + 0.005 * normal(random), 0.005 * normal(random)), "{}");
  }
  for (const TrendSeries& series : trends(history.points("t_s", {}), {})) {
    EXPECT_EQ(series.builds.size(), 12U);
    if (series.points[0].point.arm == "B") {
      EXPECT_TRUE(series.changes.empty());
      continue;
    }
    ASSERT_EQ(series.changes.size(), 1U);
    EXPECT_EQ(series.builds[series.changes[0].build].label, "c7");
    EXPECT_NEAR(series.changes[0].change_ln, 0.05, 0.006);
    EXPECT_EQ(series.points[series.builds[7].runs.front()].started_at, night_time(14));
  }
}

TEST(Trend, RunsWhoseBuildIsNotKnownStandForThemselvesAndMachinesApart) {
  History history(":memory:", /*create=*/true);
  for (int night = 0; night < 6; ++night) {
    RunRecord run = night_run(night, night % 2 ? "" : "same", 0, 0);
    if (night == 5) run.machine = "other";
    history.add(run, "{}");
  }
  HistoryFilter filter;
  const auto all = trends(history.points("t_s", filter), {});
  ASSERT_EQ(all.size(), 4U);  // two machines, two arms
  EXPECT_EQ(all[0].builds.size(), 3U);
  EXPECT_EQ(all[0].builds[0].runs.size(), 3U);
  filter.machine = "other";
  EXPECT_EQ(history.points("t_s", filter).size(), 2U);
  filter.machine.reset(), filter.since = night_time(4);
  EXPECT_EQ(history.points("t_s", filter).size(), 4U);
}

TEST(Trend, RatesAreJudgedUpsideDown) {
  std::vector<HistoryPoint> points;
  Random random{1};
  for (int i = 0; i < 12; ++i) {
    HistoryPoint at;
    at.point.higher_is_better = true, at.point.value_ln = (i < 6 ? 1.0 : 1.2) + 0.01 * normal(random);
    points.push_back(at);
  }
  const auto all = trends(points, {});
  ASSERT_EQ(all.at(0).changes.size(), 1U);
  EXPECT_LT(all[0].changes[0].change_ln, -0.15);  // faster
}

}  // namespace
}  // namespace crossover
