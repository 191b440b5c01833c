#include "bench/judge/gates.h"

#include <gtest/gtest.h>

#include "bench/tests/gate_simulation.h"

namespace crossover {
namespace {

using nlohmann::json;
void expect_invalid(const Verdict& verdict, const std::string& why) {
  EXPECT_EQ(verdict.word, Word::kInvalid);
  EXPECT_NE(verdict.reason.find(why), std::string::npos) << verdict.reason;
}

Alter tokens_of_b(std::vector<std::int64_t> tokens, double runner_up) {
  return [=](const SampleRequest& request, Sample& sample) {
    sample.output_tokens = request.arm == 'A' ? std::vector<std::int64_t>{5, 6, 7} : tokens;
    sample.output_hash = json(sample.output_tokens).dump();
    sample.top_logits.assign(3, {{5, 6, 7, 9}, {10, 10, 10, runner_up}});
  };
}

TEST(IdentityGate, PassesEqualOutputs) {
  const Verdict verdict = judge_simulated(scenario_json(), altered(tokens_of_b({5, 6, 7}, 1)));
  EXPECT_EQ(verdict.word, Word::kEquivalent);
  EXPECT_EQ(verdict.cells[0].outputs.gate, "pass");
  EXPECT_TRUE(*verdict.cells[0].outputs.identical);
}

TEST(IdentityGate, TellsAWrongTokenFromANearTie) {
  const Verdict wrong = judge_simulated(scenario_json(), altered(tokens_of_b({5, 9, 7}, 1)));
  expect_invalid(wrong, "too large for rounding");
  EXPECT_EQ(wrong.cells[0].outputs.gate, "fail");
  EXPECT_EQ(*wrong.cells[0].outputs.first_divergence, 1);
  EXPECT_NEAR(*wrong.cells[0].outputs.logit_gap, 9, 1e-12);
  expect_invalid(judge_simulated(scenario_json(), altered(tokens_of_b({5, 9, 7}, 9.9999))), "a near tie");
}

// A near tie in the first pair must not hide what is wrong in a later one.
TEST(IdentityGate, JudgesByTheWorstPair) {
  const Verdict verdict = judge_simulated(scenario_json(), altered([](const SampleRequest& request, Sample& sample) {
    sample.output_tokens = request.arm == 'A' ? std::vector<std::int64_t>{5, 6, 7} : std::vector<std::int64_t>{5, 6, 9};
    if (request.arm == 'B' && request.pair == 4) sample.output_tokens = {9, 6, 7};
    sample.output_hash = json(sample.output_tokens).dump();
    sample.top_logits.assign(3, {{5, 6, 7, 9}, {10, 10, 10, request.pair == 4 ? 2 : 9.9999}});
  }));
  expect_invalid(verdict, "differ in pair 4 from token 0 on (logit gap 8: too large for rounding), and in 8 of 8 pairs in all; B computes something else");
  EXPECT_EQ(*verdict.cells[0].outputs.first_divergence, 0);
  EXPECT_NEAR(*verdict.cells[0].outputs.logit_gap, 8, 1e-12);
}

// A sees a tie, B is sure of its own choice: its logits are wrong, so it is no tie.
TEST(IdentityGate, LooksAtTheLogitsOfBothArms) {
  expect_invalid(judge_simulated(scenario_json(), altered([](const SampleRequest& request, Sample& sample) {
                   const bool a = request.arm == 'A';
                   sample.output_tokens = {a ? 5 : 6};
                   sample.output_hash = a ? "a" : "b";
                   sample.top_logits = {{{5, 6}, {a ? 10.0 : 3.0, a ? 9.9999 : 10.0}}};
                 })),
                 "logit gap 7: too large for rounding");
}

TEST(IdentityGate, BlamesNobodyWithoutTheControl) {
  const Verdict verdict = judge_simulated(scenario_json(), altered([](const SampleRequest& request, Sample& sample) {
    if (request.control) sample.failure = "ended by signal 9";
    sample.output_hash = request.arm;
  }));
  expect_invalid(verdict, "whether A repeats itself is not known");
  EXPECT_EQ(verdict.cells[0].outputs.gate, "inconclusive");
  EXPECT_EQ(judge_simulated(scenario_json(), altered([](const SampleRequest& request, Sample& sample) {
              if (request.control) sample.failure = "ended by signal 9";
            })).word,
            Word::kEquivalent);  // equal outputs need no control
}

TEST(IdentityGate, IsInconclusiveWhereADoesNotRepeatItself) {
  const Verdict verdict = judge_simulated(scenario_json(), altered([](const SampleRequest& request, Sample& sample) {
    sample.output_hash = std::to_string(request.position);
  }));
  expect_invalid(verdict, "A does not repeat its own output");
  EXPECT_EQ(verdict.cells[0].outputs.gate, "inconclusive");
}

TEST(IdentityGate, AsksForOutputsWhereNoneWereRecorded) {
  expect_invalid(judge_simulated(scenario_json(), altered([](const SampleRequest&, Sample& sample) { sample.output_hash.clear(); })),
                 "a sample recorded none");
  json ignoring = scenario_json();
  ignoring["expect"]["outputs"] = "ignore";
  EXPECT_EQ(judge_simulated(ignoring, altered(tokens_of_b({1}, 1))).word, Word::kEquivalent);
}

TEST(ToleranceGate, BoundsTheLogits) {
  json scenario = scenario_json();
  scenario["expect"]["outputs"] = {{"tolerance", {{"logit_nmse", 1e-3}}}};
  const auto off_by = [](double error) {
    return altered([=](const SampleRequest& request, Sample& sample) {
      sample.output_hash = request.arm == 'A' ? "a" : "b";
      sample.output_tokens = {1};
      sample.top_logits = {{{1, 2}, {4, request.arm == 'A' ? 3 : 3 + error}}};
    });
  };
  const Verdict close = judge_simulated(scenario, off_by(0.01));
  EXPECT_EQ(close.word, Word::kEquivalent);
  EXPECT_NEAR(*close.cells[0].outputs.logit_nmse, 0.0001 / 25, 1e-12);
  expect_invalid(judge_simulated(scenario, off_by(1)), "NMSE");
  expect_invalid(judge_simulated(scenario, altered(nullptr)), "bound on the logits");
}

TEST(ToleranceGate, IsInconclusiveWhereADiffersFromItself) {
  json scenario = scenario_json();
  scenario["expect"]["outputs"] = {{"tolerance", {{"logit_nmse", 1e-3}}}};
  const Verdict verdict = judge_simulated(scenario, altered([](const SampleRequest& request, Sample& sample) {
    sample.output_hash = std::to_string(request.position);
    sample.output_tokens = {1};
    sample.top_logits = {{{1, 2}, {4, 3.0 + request.position % 5}}};
  }));
  expect_invalid(verdict, "A differs from itself by an NMSE");
  EXPECT_EQ(verdict.cells[0].outputs.gate, "inconclusive");
}

TEST(Knobs, ThatDoNothingAreFlaggedAndInvalidWhereADifferenceIsExpected) {
  json scenario = scenario_json();
  scenario["arms"]["A"]["knobs"] = {{"CROSSOVER_GDN_PREFILL", "recurrent"}};
  scenario["arms"]["B"]["knobs"] = {{"CROSSOVER_GDN_PREFILL", "chunked"}};
  const Verdict flagged = judge_simulated(scenario, altered(nullptr));
  EXPECT_EQ(flagged.word, Word::kEquivalent);
  ASSERT_EQ(flagged.cells[0].flags.size(), 1U);
  EXPECT_EQ(flagged.cells[0].flags[0], "inert?");
  scenario["expect"]["differs"] = {"path.kernel"};
  expect_invalid(judge_simulated(scenario, altered(nullptr)), "did not take effect");
  const auto other_path = [](const SampleRequest& request, Sample& sample) { sample.path["kernel"] = request.arm; };
  const Verdict took = judge_simulated(scenario, altered(other_path));
  EXPECT_EQ(took.word, Word::kEquivalent);
  EXPECT_TRUE(took.cells[0].flags.empty());
  scenario["expect"]["differs"] = {"path.other"};
  expect_invalid(judge_simulated(scenario, altered(nullptr)), "reports none");
}

// Page faults and nanoseconds differ between any two processes; they neither hide an inert knob nor prove one at work.
TEST(Knobs, AreNotProvenByWhatVariesByItself) {
  json scenario = scenario_json();
  scenario["arms"]["B"]["knobs"] = {{"CROSSOVER_GDN_PREFILL", "chunked"}};
  const auto noisy = altered([](const SampleRequest& request, Sample& sample) {
    sample.counters = {{"launches.matmul", 7}, {"perf.instructions", 1e6 + request.position}, {"machine.busy_s", 0.1 * request.position}};
  });
  ASSERT_FALSE(judge_simulated(scenario, noisy).cells[0].flags.empty());
  EXPECT_EQ(judge_simulated(scenario, noisy).cells[0].flags[0], "inert?");
  scenario["expect"]["differs"] = {"counters.perf.instructions"};
  expect_invalid(judge_simulated(scenario, noisy), "proves nothing");
  scenario["expect"]["differs"] = {"counters.launches.matmul"};
  expect_invalid(judge_simulated(scenario, noisy), "did not take effect");
}

TEST(Path, ThatFellBackIsInvalid) {
  json scenario = scenario_json();
  scenario["expect"]["path"] = {{"kernel", "one"}};
  EXPECT_EQ(judge_simulated(scenario, altered(nullptr)).word, Word::kEquivalent);
  expect_invalid(judge_simulated(scenario, altered([](const SampleRequest& request, Sample& sample) {
                   if (request.position == 5) sample.path["kernel"] = "fallback";
                 })),
                 "fell back");
}

TEST(Path, CanBeExpectedOfOneArm) {
  json scenario = scenario_json();
  scenario["expect"]["path"] = {{"B.cache", "hit"}};
  const auto cached = [](const char* in_b) {
    return altered([=](const SampleRequest& request, Sample& sample) { sample.path["cache"] = request.arm == 'A' ? "off" : in_b; });
  };
  EXPECT_EQ(judge_simulated(scenario, cached("hit")).word, Word::kEquivalent);
  expect_invalid(judge_simulated(scenario, cached("rebuilt")), "path 'cache' should be hit and arm B took rebuilt");
  expect_invalid(judge_simulated(scenario, altered(nullptr)), "arm B reports no such path");
}

TEST(Controls, ThatMovedMakeARunInvalid) {
  json scenario = scenario_json();
  scenario["expect"]["controls"] = {"control_s"};
  EXPECT_EQ(judge_simulated(scenario, altered(nullptr)).word, Word::kEquivalent);
  const auto control_times = [](double factor) {
    return altered([=](const SampleRequest& request, Sample& sample) {
      if (request.arm == 'B') sample.metrics["control_s"] *= factor;
    });
  };
  expect_invalid(judge_simulated(scenario, control_times(1.5)), "control control_s");
  // 5 % of a tenth of the run is less than the threshold of 1 % of the run: no reason to void it.
  const Verdict tiny = judge_simulated(scenario, control_times(1.05));
  EXPECT_EQ(tiny.word, Word::kEquivalent);
  EXPECT_LT(*tiny.cells[0].controls[0].p_adjusted, 0.05);
  scenario["expect"]["controls"] = {"absent_s"};
  expect_invalid(judge_simulated(scenario, altered(nullptr)), "was not measured");
}

TEST(Conditions, ThatDifferMakeARunInvalid) {
  expect_invalid(judge_simulated(scenario_json(), altered([](const SampleRequest& request, Sample& sample) {
                   sample.page_cache = PageCacheState{request.arm == 'A' ? "cold" : "warm", 0, 100};
                 })),
                 "page cache was cold for A and warm for B");
  const auto flagged = [](const char* flag) {
    return altered([=](const SampleRequest& request, Sample& sample) {
      if (request.position == 3) sample.flags.push_back(flag);
    });
  };
  expect_invalid(judge_simulated(scenario_json(), flagged("throttled")), "throttled");
  expect_invalid(judge_simulated(scenario_json(), flagged("impossible: 900 GB/s read")), "impossible");
  expect_invalid(judge_simulated(scenario_json(), altered([](const SampleRequest&, Sample& sample) {
                   sample.counters["reused_tokens"] = 12;
                 })),
                 "prefix cache");
}

TEST(Failures, AreInvalidOnlyWhenUnequal) {
  const auto failing = [](bool both) {
    return altered([=](const SampleRequest& request, Sample& sample) {
      if (request.pair == 2 && !request.control && (both || request.arm == 'B')) sample.failure = "ended by signal 11";
    });
  };
  expect_invalid(judge_simulated(scenario_json(), failing(false)), "0 samples of A failed and 1 of B");
  const Verdict equal = judge_simulated(scenario_json(), failing(true));
  EXPECT_NE(equal.word, Word::kInvalid);
  EXPECT_EQ(equal.cells[0].metrics.at("wall_s").pairs, 7);
}

TEST(Waterfall, SumsToTheTotal) {
  json scenario = scenario_json();
  scenario["workload"]["metrics"] = {{"load.total_s", {{"regex", "x"}}}};
  scenario["plan"]["primary"] = "load.total_s";
  const Verdict verdict = judge_simulated(scenario, altered([](const SampleRequest& request, Sample& sample) {
    sample.metrics = {{"load.total_s", request.arm == 'A' ? 10.0 : 7.0}, {"load.read_s", 4.0}, {"load.read_busy_s", 9.0},
                      {"load.quantize_s", request.arm == 'A' ? 5.0 : 2.5}};
  }));
  ASSERT_EQ(verdict.cells[0].waterfall.size(), 2U);
  EXPECT_EQ(verdict.cells[0].waterfall[0].phase, "load.quantize");
  EXPECT_NEAR(verdict.cells[0].waterfall[0].delta_s, -2.5, 1e-12);
  EXPECT_NEAR(*verdict.cells[0].residual_s, -0.5, 1e-12);
  EXPECT_EQ(verdict.word, Word::kFaster);
}

}  // namespace
}  // namespace crossover
