#include "bench/calibrate/overhead.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <stdexcept>

namespace crossover {
namespace {

TEST(Overhead, StampsLieAroundTheWindow) {
  const std::filesystem::path folder = std::filesystem::current_path() / ("overhead-test-" + std::to_string(getpid()));
  const std::vector<SampleStamps> stamps = measure_overhead(CROSSOVER_PROGRAM, folder, 12);
  EXPECT_TRUE(std::filesystem::is_empty(folder)) << "its journal is taken away again";
  std::filesystem::remove_all(folder);
  ASSERT_EQ(stamps.size(), 12U);
  const OverheadSummary summary = summarise(stamps);
  EXPECT_EQ(summary.clean_windows, 12) << "nothing of the harness lies inside a timed window";
  EXPECT_GT(summary.start.median_s, 0);
  EXPECT_GT(summary.journal.median_s, 0);
  EXPECT_GE(summary.overhead.worst_s, summary.overhead.median_s);
  EXPECT_GE(stamps.back().window_end_s - stamps.back().window_begin_s, kLongWindow_s);
  EXPECT_LT(summary.watching_share, 0.2);
  EXPECT_LT(summary.overhead.median_s, 0.5);  // 15 ms are asked of a machine that does nothing else: reports/calibration.md
}

TEST(Overhead, SummaryIsByMedianAndWorst) {
  std::vector<SampleStamps> stamps;
  for (const double start_s : {0.003, 0.001, 0.002}) stamps.push_back({10, 10 + start_s, 10.1, 10.2, 10.3, 10.4, 10.4 + 2 * start_s, 0.001});
  stamps[2].harness_cpu_s = 0.003;
  stamps[1].window_begin_s = 10.0005;  // before main began
  const OverheadSummary summary = summarise(stamps);
  EXPECT_NEAR(summary.start.median_s, 0.002, 1e-9);
  EXPECT_NEAR(summary.start.worst_s, 0.003, 1e-9);
  EXPECT_NEAR(summary.journal.worst_s, 0.006, 1e-9);
  EXPECT_NEAR(summary.overhead.median_s, 0.006, 1e-9);
  EXPECT_NEAR(summary.finish.median_s, 0.1, 1e-9);
  EXPECT_EQ(summary.clean_windows, 2);
  EXPECT_NEAR(summary.watching_share, 0.02, 1e-9);
  EXPECT_THROW(summarise({}), std::invalid_argument);
  EXPECT_THROW(summarise({stamps[0]}), std::invalid_argument);
}

TEST(Overhead, NamesAProgramThatIsNotCrossover) {
  EXPECT_THROW(measure_overhead("/bin/false", std::filesystem::temp_directory_path(), 1), std::runtime_error);
}

}  // namespace
}  // namespace crossover
