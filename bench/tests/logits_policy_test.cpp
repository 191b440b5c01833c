// The policy of prompt logits on a real engine, judged as a scenario's samples are: both policies pass the identity gate, and a
// sampler that reads row 0 of the prompt's rows instead of the last one, the classic mistake of a last-row policy, does not.
#include <gtest/gtest.h>

#include <algorithm>

#include "bench/tests/simulation.h"
#include "engine/checkpoint/synth.h"
#include "engine/engine.h"
#include "engine/generate.h"
#include "engine/tests/checkpoint_files.h"

namespace crossover {
namespace {

using nlohmann::json;

const std::vector<std::int32_t> kPrompt{3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8};
constexpr int kTokens = 4;

struct Generated {
  std::vector<std::int64_t> tokens;
  Counters counters;
  std::int64_t vocab = 0, hidden = 0;
};

class LogitsPolicy : public ::testing::Test {
 protected:
  LogitsPolicy() {
    SynthOptions synth;
    synth.preset = "tiny-dense";
    write_synth(synth, folder_ / "model");
  }

  EngineOptions options(const char* policy) const {
    EngineOptions options;
    options.model = folder_ / "model";
    options.capacity_tokens = 64;
    options.knobs.set("CROSSOVER_LOGITS", policy, "test");
    return options;
  }

  Generated generated(const char* policy) const {
    Engine engine(options(policy));
    GenerateOptions wanted;
    wanted.prompt = kPrompt, wanted.max_tokens = kTokens, wanted.ignore_end_of_text = true;
    const std::vector<std::int32_t> tokens = generate(engine, wanted);
    return {{tokens.begin(), tokens.end()}, engine.counters(), engine.config().vocab, engine.config().hidden};
  }

  // Greedy decoding whose first token is chosen from this row of the prompt's.
  std::vector<std::int64_t> from_row(std::int64_t row) const {
    Engine engine(options("all"));
    std::vector<std::int64_t> tokens;
    std::vector<float> logits;
    engine.feed(kPrompt, [&](std::int64_t first, ConstRows rows) {
      if (row >= first && row < first + rows.rows) logits.assign(rows.row(row - first), rows.row(row - first) + rows.dim);
    });
    while (tokens.size() < kTokens) {
      tokens.push_back(std::max_element(logits.begin(), logits.end()) - logits.begin());
      const auto id = static_cast<std::int32_t>(tokens.back());
      const std::span<const float> next = engine.feed({&id, 1});
      logits.assign(next.begin(), next.end());
    }
    return tokens;
  }

  test::TempFolder folder_;
};

Verdict judge(const std::vector<std::int64_t>& a, const std::vector<std::int64_t>& b) {
  SimulatedProgram program;
  program.noise_ln = 0.002;
  program.alter = [&](const SampleRequest& request, Sample& sample) {
    sample.output_tokens = request.arm == 'A' ? a : b;
    sample.output_hash = json(sample.output_tokens).dump();
  };
  return judge_simulated(scenario_json(), program);
}

TEST_F(LogitsPolicy, BothGiveTheSameTokensAndTheHeadsWorkShowsWhichRan) {
  const Generated last = generated("last"), all = generated("all");
  EXPECT_EQ(judge(last.tokens, all.tokens).cells[0].outputs.gate, "pass");
  EXPECT_EQ(last.counters.paths.at("logits"), "last");
  EXPECT_EQ(all.counters.paths.at("logits"), "all");
  const std::int64_t more_rows = static_cast<std::int64_t>(kPrompt.size()) - 1;
  EXPECT_EQ(all.counters.counts.at("flops.matmul") - last.counters.counts.at("flops.matmul"), more_rows * 2 * last.vocab * last.hidden);
}

TEST_F(LogitsPolicy, TheGateCatchesTheWrongRow) {
  const std::vector<std::int64_t> right = generated("last").tokens;
  EXPECT_EQ(judge(right, from_row(static_cast<std::int64_t>(kPrompt.size()) - 1)).cells[0].outputs.gate, "pass");
  const Verdict wrong = judge(right, from_row(0));
  EXPECT_EQ(wrong.word, Word::kInvalid);
  EXPECT_EQ(wrong.cells[0].outputs.gate, "fail");
  EXPECT_EQ(wrong.cells[0].outputs.first_divergence, 0);
}

}  // namespace
}  // namespace crossover
