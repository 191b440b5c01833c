// The shipped scenarios of prefill and decode with tiny models and two pairs: what they promise about paths, counters and outputs holds.
#include <map>

#include "bench/tests/shipped_scenario_run.h"
#include "kernels/cpu/isa.h"

namespace crossover {
namespace {

class ForwardScenario : public ShippedScenarioTest {
 protected:
  RunOutcome run_warm(const char* name, std::vector<std::string> sets) {
    sets.push_back(page_cache("warm"));
    return run(name, std::move(sets));
  }

  static double counter(const RunOutcome& outcome, char arm, int cell, const std::string& name) {
    for (const Sample& sample : outcome.samples)
      if (sample.arm == arm && sample.cell == cell) return sample.counters.at(name);
    return -1;
  }

  static double error(const CellAnalysis& cell) { return cell.outputs.logit_nmse.value_or(-1); }
};

constexpr const char* kCapacity = "/workload/kv_capacity_tokens=256";

TEST_F(ForwardScenario, SweepCurveTimesBothPhasesAtEveryDepth) {
  const RunOutcome outcome = run_warm("sweep_curve", {kTinyDense, kCapacity, "/workload/prompt_tokens=32", "/workload/generate_tokens=4", R"(/sweep={"/workload/depth_tokens":[0,64]})"});
  ASSERT_EQ(outcome.verdict.cells.size(), 2U);
  expect_valid(outcome);
  for (const Sample& sample : outcome.samples) {
    EXPECT_GT(sample.metrics.at("prefill.tokens_per_s"), 0);
    EXPECT_GT(sample.metrics.at("decode.total_s"), 0);
    EXPECT_EQ(sample.counters.at("tokens.used"), 32 + 3 + 64 * sample.cell);
  }
}

TEST_F(ForwardScenario, DecodeFlatnessComparesDepths) {
  const RunOutcome outcome = run_warm("decode_flatness", {kTinyDense, "/workload/kv_capacity_tokens=512", "/workload/prompt_tokens=8", "/workload/generate_tokens=16",
                                                          "/plan/primary=decode.total_s", R"(/sweep={"/arms/B/workload/depth_tokens":[64,128]})"});
  ASSERT_EQ(outcome.verdict.cells.size(), 2U);
  EXPECT_EQ(outcome.verdict.word, Word::kInconclusive) << outcome.verdict.reason;
  EXPECT_EQ(counter(outcome, 'B', 1, "tokens.used") - counter(outcome, 'A', 1, "tokens.used"), 128);
  EXPECT_EQ(counter(outcome, 'B', 1, "bytes.state"), counter(outcome, 'A', 1, "bytes.state"));  // the same capacity
}

TEST_F(ForwardScenario, GdnCrossTakesEachFormAtEveryChunk) {
  const RunOutcome outcome = run_warm("gdn_cross", {kTinyMoe, "/workload/prompt_tokens=32", R"(/sweep={"/workload/chunk":[2,16]})"});
  ASSERT_EQ(outcome.verdict.cells.size(), 2U);
  expect_valid(outcome);
  for (int cell = 0; cell < 2; ++cell) {
    const double passes = cell == 0 ? 16 : 2;
    for (const char arm : {'A', 'B'}) EXPECT_EQ(counter(outcome, arm, cell, "launches.gdn_mixer"), 3 * passes);  // of four layers three have it
  }
  for (const std::string& form : paths(outcome, 'A', "gdn")) EXPECT_NE(form.find("recurrent"), std::string::npos) << form;
  for (const std::string& form : paths(outcome, 'B', "gdn")) EXPECT_NE(form.find("chunked"), std::string::npos) << form;
}

TEST_F(ForwardScenario, GdnPrefillCoversShortAndLongPrompts) {
  const RunOutcome outcome = run_warm("gdn_prefill", {kTinyMoe, "/workload/kv_capacity_tokens=512", R"(/sweep={"/workload/prompt_tokens":[64,300]})"});
  ASSERT_EQ(outcome.verdict.cells.size(), 2U);
  expect_valid(outcome);
}

TEST_F(ForwardScenario, GdnKernelReportsSpeedAndErrorTogether) {
  const RunOutcome outcome = run_warm("gdn_kernel", {kTinyMoe, "/workload/prompt_tokens=199"});
  ASSERT_EQ(outcome.verdict.cells.size(), 2U);
  expect_valid(outcome);
  EXPECT_EQ(paths(outcome, 'B', "gdn").size(), 2U);
  for (const CellAnalysis& cell : outcome.verdict.cells) EXPECT_GE(error(cell), 0) << cell.name;
  // chunked-f32 differs in the last bits only, but activations are rounded to 8 bits after it, and another rounding may choose other experts.
  EXPECT_LE(error(outcome.verdict.cells[1]), 8e-3);
}

TEST_F(ForwardScenario, KvPairsHoldTheirTolerance) {
  const RunOutcome outcome = run_warm("kv_pairs", {kTinyDense, "/workload/prompt_tokens=64", "/workload/generate_tokens=8", "/plan/primary=decode.total_s",
                                                   R"(/sweep={"/arms/B/workload/kv_k":["f32","q8_0","q5_1"],"/arms/B/workload/kv_v":["f32","q4_0"]})"});
  ASSERT_EQ(outcome.verdict.cells.size(), 6U);
  expect_valid(outcome);
  std::map<std::string, double> errors;
  for (const CellAnalysis& cell : outcome.verdict.cells) errors[cell.name] = error(cell);
  EXPECT_EQ(errors.at("kv_k=f32 kv_v=f32"), 0);
  EXPECT_GT(errors.at("kv_k=q8_0 kv_v=f32"), 0);
  EXPECT_GT(errors.at("kv_k=q5_1 kv_v=q4_0"), errors.at("kv_k=q8_0 kv_v=f32"));
}

TEST_F(ForwardScenario, CapacityCostsBytesByTheFormulaAndChangesNoToken) {
  const RunOutcome outcome = run_warm("ctx_capacity", {kTinyDense, "/workload/prompt_tokens=24", "/workload/generate_tokens=8", "/arms/A/workload/kv_capacity_tokens=32",
                                                       R"(/sweep={"/arms/B/workload/kv_capacity_tokens":[128,512]})"});
  ASSERT_EQ(outcome.verdict.cells.size(), 2U);
  expect_valid(outcome);
  const auto more = [&](int cell) { return counter(outcome, 'B', cell, "bytes.state") - counter(outcome, 'A', cell, "bytes.state"); };
  EXPECT_DOUBLE_EQ(more(1) / (512 - 32), more(0) / (128 - 32));  // bytes a token, the same at any capacity
  EXPECT_GT(more(0), 0);
}

TEST_F(ForwardScenario, KvRotationReportsErrorsOfEveryForm) {
  const RunOutcome outcome = run_warm("kv_rotation", {kTinyDense, "/workload/prompt_tokens=64", "/workload/generate_tokens=8", "/plan/primary=decode.total_s"});
  ASSERT_EQ(outcome.verdict.cells.size(), 6U);
  expect_valid(outcome);
  std::map<std::string, double> errors;
  for (const CellAnalysis& cell : outcome.verdict.cells) errors[cell.name] = error(cell);
  for (const auto& [name, value] : errors) EXPECT_GT(value, 0) << name;
  EXPECT_NE(errors.at("CROSSOVER_K_ROTATION=none kv_k=q4_0"), errors.at("CROSSOVER_K_ROTATION=fwht kv_k=q4_0"));
  EXPECT_GT(errors.at("CROSSOVER_K_ROTATION=none kv_k=q4_0"), errors.at("CROSSOVER_K_ROTATION=none kv_k=q8_0"));
}

// Of four layers one has attention: a rotation of its keys and one of its queries, for every pass.
TEST_F(ForwardScenario, WhtSkipSavesTwoLaunchesAnAttentionLayerAndPass) {
  const RunOutcome outcome = run_warm("wht_skip", {kTinyDense, "/workload/chunk=16", "/workload/prompt_tokens=64", "/workload/generate_tokens=2"});
  ASSERT_EQ(outcome.verdict.cells.size(), 2U);
  expect_valid(outcome);
  const auto rotations = [&](char arm, int cell) {
    for (const Sample& sample : outcome.samples)
      if (sample.arm == arm && sample.cell == cell) return sample.counters.contains("launches.rotate") ? sample.counters.at("launches.rotate") : 0.0;
    return -1.0;
  };
  EXPECT_EQ(rotations('A', 0), 2 * (4 + 1));  // four passes of the prompt and one decoded token
  EXPECT_EQ(rotations('B', 0), 0);
  EXPECT_EQ(rotations('A', 1), 0);  // fused
}

TEST_F(ForwardScenario, LastRowLogitsSavesTheHeadsWorkAndKeepsTheToken) {
  const RunOutcome outcome = run_warm("last_row_logits", {kTinyDense, "/workload/chunk=16", R"(/sweep={"/workload/prompt_tokens":[32,33]})"});
  ASSERT_EQ(outcome.verdict.cells.size(), 2U);
  expect_valid(outcome);
  for (int cell = 0; cell < 2; ++cell) EXPECT_GT(counter(outcome, 'A', cell, "flops.matmul"), counter(outcome, 'B', cell, "flops.matmul"));
}

TEST_F(ForwardScenario, MoePrefillTakesEachWayAtEveryLength) {
  const RunOutcome outcome = run_warm("moe_prefill", {kTinyMoe, R"(/sweep={"/workload/prompt_tokens":[1,2,40]})"});
  ASSERT_EQ(outcome.verdict.cells.size(), 3U);
  expect_valid(outcome);
  EXPECT_EQ(paths(outcome, 'A', "moe"), std::set<std::string>{"per-token"});
  EXPECT_EQ(paths(outcome, 'B', "moe"), std::set<std::string>{"grouped"});
}

TEST_F(ForwardScenario, RouteThatWasNotTakenEndsInvalid) {
  EXPECT_EQ(run_warm("kernel_route", {kTinyMoe, "/workload/prompt_tokens=32", "/arms/B/knobs/CROSSOVER_ISA=portable", "/name=fell_back"}).verdict.word, Word::kInvalid);
  if (cpu::highest_isa() < cpu::Isa::kAvx2) GTEST_SKIP() << "this CPU has no AVX2";
  const RunOutcome outcome = run_warm("kernel_route", {kTinyMoe, "/workload/prompt_tokens=32"});
  expect_valid(outcome);
  EXPECT_EQ(paths(outcome, 'A', "isa"), std::set<std::string>{"portable"});
  for (const std::string& kernel : paths(outcome, 'B', "attention")) EXPECT_TRUE(kernel.starts_with("avx2")) << kernel;
}

}  // namespace
}  // namespace crossover
