// The shipped scenarios of cold load with tiny models and two pairs, through the program itself: what they promise about paths,
// counters and outputs holds. Their times mean nothing here.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "bench/machine/usable_cores.h"
#include "bench/scenario_schema.h"
#include "bench/tests/shipped_scenario_run.h"
#include "kernels/cuda/runtime.h"

namespace crossover {
namespace {

namespace fs = std::filesystem;

using ColdLoadScenario = ShippedScenarioTest;

TEST_F(ColdLoadScenario, IsqTakesTheScheduleOfEachArm) {
  const RunOutcome outcome = run("cold_load_isq", {kTinyDense, page_cache("cold")});
  expect_valid(outcome);
  EXPECT_TRUE(paths(outcome, 'A', "quantize").begin()->starts_with("serial"));
  EXPECT_TRUE(paths(outcome, 'B', "quantize").begin()->starts_with("pool"));
  for (const Sample& sample : outcome.samples) {
    EXPECT_EQ(!sample.timeline.empty(), sample.pair == 0 && !sample.control);
    for (const SampleSpan& span : sample.timeline) {
      EXPECT_GE(span.start_s, 0) << span.phase;
      EXPECT_LE(span.start_s, span.end_s) << span.phase;
      EXPECT_LE(span.end_s, sample.metrics.at("load.total_s") + 1e-6) << span.phase;
    }
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

// What the two arms hold on a GPU is engine/tests/cuda/device_load_test.cpp's; here it is that they are told apart, or why they cannot be run.
TEST_F(ColdLoadScenario, TheDeviceQuantizesWhereThereIsOne) {
  const auto small = [&] { return run("cold_load_device_quantize", {kTinyDense, page_cache("cold")}); };
  if (cuda::device_count() == 0) {
    try {
      small();
      FAIL() << "there is no GPU";
    } catch (const std::runtime_error& error) {
      EXPECT_NE(std::string(error.what()).find("backend cuda: "), std::string::npos) << error.what();
    }
    return;
  }
  const RunOutcome outcome = small();
  expect_valid(outcome);
  EXPECT_TRUE(paths(outcome, 'A', "quantize").begin()->starts_with("pool"));
  EXPECT_EQ(paths(outcome, 'B', "quantize"), std::set<std::string>{"device"});
}

TEST_F(ColdLoadScenario, CacheHoldsWhatQuantizationMakes) {
  const RunOutcome outcome = run("cold_load_cache", {kTinyDense, evicts_ ? "" : R"(/sweep={"/workload/page_cache":["as-is"]})"});
  ASSERT_EQ(outcome.verdict.cells.size(), evicts_ ? 2U : 1U);
  expect_valid(outcome);
  EXPECT_EQ(paths(outcome, 'A', "cache"), std::set<std::string>{"off"});
  EXPECT_EQ(paths(outcome, 'B', "cache"), std::set<std::string>{"hit"});
  for (const Sample& sample : outcome.samples)
    EXPECT_EQ(sample.counters.at("values.quantized") > 0, sample.arm == 'A');
  const auto files = [&](char arm) {
    for (const Sample& sample : outcome.samples)
      if (sample.arm == arm) return sample.counters.at("bytes.files");
    return 0.0;
  };
  EXPECT_LT(files('B'), 0.6 * files('A'));  // 6.6 bits a weight instead of 16
  // Both ranks may read every piece of a file of a few pieces, and one more where a batch begins inside one.
  for (const Sample& sample : outcome.samples) {
    if (sample.arm == 'B') {
      EXPECT_LT(sample.counters.at("bytes.read"), 4 * files('B'));
    }
  }
}

TEST_F(ColdLoadScenario, DoesNotStartWithoutTheFileItIsAbout) {
  try {
    run("cold_load_cache", {kTinyDense, "/workload/weights=as-is", R"(/sweep={"/workload/page_cache":["as-is"]})"});
    FAIL() << "weights that are used as stored are not kept";
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find("no file was kept; quantized cache: the weights are used as they are stored"), std::string::npos)
        << error.what();
  }
}

TEST_F(ColdLoadScenario, HeadPoliciesHoldWhatTheyShould) {
  const RunOutcome outcome = run("lm_head_policy", {kTinyDense, page_cache("warm")});
  expect_valid(outcome);
  ASSERT_EQ(outcome.verdict.cells.size(), 3U);
  std::map<std::pair<char, int>, double> rank1;  // weight bytes by arm and cell
  for (const Sample& sample : outcome.samples) rank1[{sample.arm, sample.cell}] = sample.counters.at("bytes.weights.rank1");
  const double head_values = 1024 * 256, q6_k = 210.0 / 256;  // of tiny-dense
  const auto more_than_sharded = [&](int cell) { return rank1[{'B', cell}] - rank1[{'A', cell}]; };
  EXPECT_DOUBLE_EQ(more_than_sharded(0), -head_values / 2 * q6_k);                     // rank0
  EXPECT_DOUBLE_EQ(more_than_sharded(1), head_values / 2 * q6_k);                      // every-rank-quantized
  EXPECT_DOUBLE_EQ(more_than_sharded(2), head_values * 2 - head_values / 2 * q6_k);  // every-rank-plain, in bf16
}

TEST_F(ColdLoadScenario, LoadOrderIsMeasuredWithAndWithoutReadAhead) {
  const RunOutcome outcome = run("load_order", {kTinyDense, page_cache("cold")});
  expect_valid(outcome);
  ASSERT_EQ(outcome.verdict.cells.size(), 2U);
  for (const Sample& sample : outcome.samples) {
    EXPECT_EQ(sample.knobs.at("CROSSOVER_LOAD_ORDER").value, sample.arm == 'A' ? "in-turn" : "together");
    EXPECT_EQ(sample.knobs.at("CROSSOVER_READ_AHEAD").value, sample.cell == 0 ? "1" : "0");
  }
}

TEST_F(ColdLoadScenario, WaysOfReadingGiveTheSameWeights) {
  const std::string modes = evicts_ ? R"(["pread","direct"])" : R"(["pread"])";  // past the page cache only where there is a disk below it
  const RunOutcome outcome = run("cold_load_read", {kTinyDense, page_cache("cold"), R"(/sweep={"/arms/B/knobs/CROSSOVER_READ":)" + modes + "}"});
  expect_valid(outcome);
  for (const Sample& sample : outcome.samples) EXPECT_EQ(sample.knobs.at("CROSSOVER_READ").value == "mmap", sample.arm == 'A');
}

// Launches of the schedules that start threads are their closed forms (engine/tests/schedule_test.cpp); here it is that they are told.
TEST_F(ColdLoadScenario, SchedulesOfExpertsDifferInLaunchesAndNotInBytes) {
  const RunOutcome outcome = run("moe_quant_schedule", {kTinyMoe, page_cache("warm"), "/workload/threads=3"});
  expect_valid(outcome);
  ASSERT_EQ(outcome.verdict.cells.size(), 3U);
  std::set<std::string> hashes;
  std::map<std::pair<char, int>, double> launches;
  for (const Sample& sample : outcome.samples) {
    hashes.insert(sample.output_hash);
    launches[{sample.arm, sample.cell}] = sample.counters.at("launches.quantize");
    EXPECT_EQ(sample.series.at("load.thread_busy_s").size(), 3U);
    EXPECT_GT(sample.metrics.at("load.busy_share"), 0);
    EXPECT_LE(sample.metrics.at("load.busy_share"), 1 + 1e-9);
  }
  EXPECT_EQ(hashes.size(), 1U);
  const double spawn = launches[{'A', 0}], per_thread = launches[{'B', 0}], queue = launches[{'B', 1}], pool = launches[{'B', 2}];
  EXPECT_GT(spawn, 16 * queue / 4);  // of 16 experts each
  EXPECT_GT(per_thread, 0);
  EXPECT_LT(per_thread, spawn);
  EXPECT_GT(queue, 0);
  EXPECT_EQ(pool, 0);
}

TEST_F(ColdLoadScenario, ThreadsBeyondExpertsFallBackByName) {
  const RunOutcome outcome = run("quant_threads", {kTinyMoe, page_cache("warm"), R"(/sweep={"/workload/threads":[1,2,13,47]})"});
  expect_valid(outcome);
  ASSERT_EQ(outcome.verdict.cells.size(), 4U);
  const auto whole_experts = [&](int cell) {
    for (const Sample& sample : outcome.samples)
      if (sample.cell == cell && sample.arm == 'A') return sample.path.at("quantize").find("expert-per-thread") != std::string::npos;
    return false;
  };
  EXPECT_TRUE(whole_experts(1));   // 16 experts on 2 threads
  EXPECT_FALSE(whole_experts(2));  // on 13: most threads would have one expert and some two
  EXPECT_FALSE(whole_experts(3));  // on 47
  const int cores = usable_cores();
  for (const Sample& sample : outcome.samples) {
    const int threads = std::array{1, 2, 13, 47}[static_cast<std::size_t>(sample.cell)];
    EXPECT_EQ(std::count(sample.flags.begin(), sample.flags.end(), "oversubscribed") > 0, threads > cores) << threads;
  }
}

// The table of rules: cold against warm is refused even for one and the same arm.
TEST_F(ColdLoadScenario, ConfoundIsRefused) {
  if (!evicts_) GTEST_SKIP() << "the page cache cannot be controlled in " << folder_;
  const RunOutcome outcome = run("page_cache_confound", {kTinyMoe});
  EXPECT_EQ(outcome.verdict.word, Word::kInvalid);
  EXPECT_EQ(word_exit_code(outcome.verdict.word), 3);
  EXPECT_NE(outcome.verdict.reason.find("the page cache was cold for A and warm for B"), std::string::npos) << outcome.verdict.reason;
  EXPECT_EQ(outcome.verdict.cells[0].outputs.gate, "pass");
  const RunOutcome like = run("page_cache_confound", {kTinyMoe, "/arms/A/workload/page_cache=warm", "/name=same_page_cache"});
  EXPECT_NE(like.verdict.word, Word::kInvalid) << like.verdict.reason;
}

}  // namespace
}  // namespace crossover
