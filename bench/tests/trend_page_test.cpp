#include "bench/report/trend_page.h"

#include <gtest/gtest.h>

#include <cmath>

#include "bench/history/history.h"
#include "engine/tests/temp_folder.h"

namespace crossover {
namespace {

namespace fs = std::filesystem;

class TrendPage : public test::FolderTest {
 protected:
  // One run a day, a commit each; from the ninth on loads take a fifth longer.
  void fill(int runs) {
    History history(folder_ / "h.sqlite", /*create=*/true);
    for (int day = 1; day <= runs; ++day) {
      RunRecord run;
      run.scenario = "nightly <b>", run.kind = "cold_load", run.asked = "{}", run.machine = "0123456789ab", run.hardware = "{}";
      run.version = "0.1.0", run.commit = "c" + std::to_string(day), run.flags = "{}", run.primary = "load.total_s";
      run.started_at = "2026-11-" + std::string(day < 10 ? "0" : "") + std::to_string(day) + "T01:00:00.000Z";
      run.plan_hash = std::string(64, static_cast<char>('a' + day % 6)), run.word = "EQUIVALENT", run.reason = "equal", run.samples = 16;
      RunPoint point;
      point.metric = "load.total_s", point.arm = "A", point.build = run.commit, point.n = 8, point.sd_ln = 0.01;
      point.value_ln = std::log((day >= 9 ? 1.2 : 1.0) + 0.001 * (day * 7 % 5));
      run.points = {point};
      point.metric = "load.read_s";
      run.points.push_back(point);
      history.add(run, "{}");
    }
  }
  std::string page() {
    write_trend_page(folder_ / "h.sqlite", folder_ / "out");
    return test::read_bytes(folder_ / "out" / "trend.html");
  }
};

TEST_F(TrendPage, MarksWhereALevelChanged) {
  fill(16);
  const std::string html = page();
  for (const char* wanted :
       {"1 of 1 series changed", "slower with build c9", "nightly &lt;b&gt;", "lower is better", "2026-11-16T01:00:00.000Z"})
    EXPECT_NE(html.find(wanted), std::string::npos) << wanted;
  EXPECT_EQ(html.find("load.read_s"), std::string::npos) << "phases are left to the command";
  const std::string text = test::read_bytes(folder_ / "out" / "plots" / "trend-1.gp");
  EXPECT_NE(text.find("set arrow from first 8.5, graph 0"), std::string::npos) << text;
  EXPECT_EQ(html.find("No picture: gnuplot failed"), std::string::npos);
}

TEST_F(TrendPage, RefusesWhatHoldsNothing) {
  fill(0);
  EXPECT_THROW(page(), std::runtime_error);
  EXPECT_THROW(write_trend_page(folder_ / "none.sqlite", folder_ / "out"), std::runtime_error);
}

}  // namespace
}  // namespace crossover
