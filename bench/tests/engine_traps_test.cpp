// The traps of CONTRIBUTING.md that the engine must not fall into, on tiny synthetic models.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <set>

#include "bench/process/process.h"
#include "bench/shipped_scenarios.h"
#include "bench/tests/simulation.h"
#include "engine/checkpoint/synth.h"
#include "engine/engine.h"
#include "engine/generate.h"
#include "engine/tests/checkpoint_files.h"
#include "kernels/cpu/micro.h"

namespace crossover {
namespace {

using test::message_of;

const std::vector<std::int32_t> kPrompt{3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9};

EngineOptions tiny() {
  static const test::TempFolder folder;
  static const std::filesystem::path model = [] {
    SynthOptions options;
    options.preset = "tiny-dense", options.seed = 5;
    write_synth(options, folder / "model");
    return folder / "model";
  }();
  EngineOptions options;
  options.model = model, options.capacity_tokens = 64;
  return options;
}

std::vector<float> copy(std::span<const float> row) { return {row.begin(), row.end()}; }

// Logits after each of the tokens, one at a time.
std::vector<float> follow(Engine& engine, const std::vector<std::int32_t>& tokens) {
  std::vector<float> all;
  for (const std::int32_t token : tokens) {
    const std::span<const float> row = engine.feed({&token, 1});
    all.insert(all.end(), row.begin(), row.end());
  }
  return all;
}

TEST(Trap, 04_TheFirstTokenIsThatOfTheLastRowInAnyChunking) {
  std::set<std::int32_t> first;
  for (const std::int64_t chunk : {2048, 4, 1}) {
    EngineOptions options = tiny();
    options.chunk_tokens = chunk;
    Engine engine(options);
    first.insert(generate(engine, {kPrompt, 1, {}, true}).at(0));
  }
  EXPECT_EQ(first.size(), 1U);
  Engine engine(tiny());
  std::vector<float> last;
  engine.feed(kPrompt, [&](std::int64_t, ConstRows rows) { last.assign(rows.row(rows.rows - 1), rows.row(rows.rows - 1) + rows.dim); });
  EXPECT_EQ(*first.begin(), std::max_element(last.begin(), last.end()) - last.begin());
}

TEST(Trap, 05_OddThreadCountsAreAskedAndTheScheduleThatRanIsNamed) {
  const ShippedScenario* shipped = find_shipped_scenario("quant_threads");
  ASSERT_NE(shipped, nullptr);
  const Scenario scenario = parse_scenario(shipped->text, "quant_threads");
  std::set<int> threads;
  for (const Cell& cell : scenario.cells) threads.insert(nlohmann::json::parse(cell.a.workload).at("threads").get<int>());
  for (const int odd : {13, 47}) EXPECT_TRUE(threads.contains(odd)) << odd;
  EXPECT_EQ(scenario.expect.differs, std::vector<std::string>{"path.quantize"});
  EngineOptions options = tiny();
  options.threads = 3, options.weights = DType::kQ8_0;
  EXPECT_FALSE(Engine(options).counters().paths.at("quantize").empty());
}

TEST(Trap, 06_ABrokenRankEndsThePassAndAHangEndsInTime) {
  EngineOptions options = tiny();
  options.ranks = 2;
  Engine engine(options);
  const std::vector<float> expected = copy(engine.feed(kPrompt));
  engine.reset();
  engine.set_probe(1, [](std::string_view what, std::int64_t, ConstRows) {
    if (what == "embed") throw std::runtime_error("injected on rank 1");
  });
  EXPECT_EQ(message_of([&] { engine.feed(kPrompt); }), "injected on rank 1");
  engine.set_probe(1, {});
  EXPECT_NE(message_of([&] { engine.feed(kPrompt); }).find("half advanced"), std::string::npos);
  engine.reset();
  EXPECT_EQ(copy(engine.feed(kPrompt)), expected);  // nothing stale is left
  ProcessSpec spec;
  spec.argv = {"/bin/sh", "-c", "sleep 100"}, spec.environment = {"PATH=/usr/bin:/bin"}, spec.timeout_s = 0.1;
  const ProcessResult hung = run_process(spec);
  EXPECT_TRUE(hung.timed_out);
  EXPECT_NE(bad_end(hung, spec.timeout_s), "");
}

TEST(Trap, 07_AnUnsupportedCacheTypeIsRefusedByName) {
  EngineOptions options = tiny();
  options.keys = DType::kQ6_K;
  EXPECT_NE(message_of([&] { Engine engine(options); }).find("q6_k is not supported"), std::string::npos);
  nlohmann::json scenario = scenario_json();
  scenario["workload"] = {{"kind", "prefill"}, {"model", {{"synth", "tiny-dense"}}}, {"kv_k", "q3_k"}, {"prompt_tokens", 8}};
  scenario["plan"]["primary"] = "prefill.total_s";
  EXPECT_NE(message_of([&] { scenario_from(scenario); }).find("kv_k"), std::string::npos);
}

TEST(Trap, 08_RotationIsRecordedApartFromTheTypeOfTheCache) {
  std::set<std::string> paths;
  for (const DType type : {DType::kF16, DType::kQ8_0})
    for (const char* rotation : {"none", "fwht"}) {
      EngineOptions options = tiny();
      options.keys = type;
      options.knobs.set("CROSSOVER_K_ROTATION", rotation, "test");
      Engine engine(options);
      engine.feed(kPrompt);
      EXPECT_TRUE(engine.counters().paths.at("attention.k_rotation").starts_with(rotation)) << name(type);
      paths.insert(std::string(name(type)) + engine.counters().paths.at("attention.k_rotation"));
    }
  EXPECT_EQ(paths.size(), 4U);
}

// Constant, zero, one outlier, denormals, ties of both signs: what random weights never are.
TEST(Trap, 14_AdversarialRowsQuantizeAlikeEverywhere) {
  constexpr std::int64_t kValues = 512;
  std::map<std::string, std::vector<float>> rows;
  rows["zero"].assign(kValues, 0), rows["constant"].assign(kValues, 0.25f), rows["denormal"].assign(kValues, 1e-41f);
  rows["outlier"].assign(kValues, 1e-3f), rows["outlier"][77] = 1e4f;
  for (std::int64_t i = 0; i < kValues; ++i) rows["ties"].push_back(i % 2 ? 0.5f : -0.5f);
  for (const auto& [what, values] : rows) {
    std::set<std::vector<std::byte>> found;
    for (const cpu::Isa isa : cpu::usable_isas()) {
      std::vector<std::byte> bytes(static_cast<std::size_t>(row_bytes(DType::kQ6_K, kValues)));
      cpu::micro(isa).formats->quantize[static_cast<std::size_t>(DType::kQ6_K)](values.data(), bytes.data(), kValues);
      found.insert(bytes);
    }
    EXPECT_EQ(found.size(), 1U) << what;
  }
}

TEST(Trap, 20_ARecurrentStateGoesBackBySnapshotOnly) {
  Engine engine(tiny());
  engine.feed(kPrompt);
  const auto snapshot = engine.snapshot();
  const std::vector<float> once = follow(engine, {2, 7, 1});
  engine.restore(snapshot);
  EXPECT_EQ(engine.tokens(), static_cast<std::int64_t>(kPrompt.size()));
  EXPECT_EQ(follow(engine, {2, 7, 1}), once);
  EngineOptions other = tiny();
  other.keys = DType::kF32;
  Engine unlike(other);
  EXPECT_NE(message_of([&] { unlike.restore(snapshot); }).find("does not fit"), std::string::npos);
}

TEST(Trap, 21_InterleavedSequencesEqualEachAlone) {
  const std::vector<std::int32_t> one{2, 7, 1, 8, 2}, two{9, 9, 8, 1, 1};
  Engine engine(tiny());
  const std::vector<float> one_alone = follow(engine, one);
  engine.reset();
  const std::vector<float> two_alone = follow(engine, two);
  engine.reset();
  auto state_one = engine.snapshot(), state_two = state_one;
  std::vector<float> one_mixed, two_mixed;
  for (std::size_t i = 0; i < one.size(); ++i) {
    engine.restore(state_one);
    for (const float logit : follow(engine, {one[i]})) one_mixed.push_back(logit);
    state_one = engine.snapshot();
    engine.restore(state_two);
    for (const float logit : follow(engine, {two[i]})) two_mixed.push_back(logit);
    state_two = engine.snapshot();
  }
  EXPECT_EQ(one_mixed, one_alone);
  EXPECT_EQ(two_mixed, two_alone);
}

TEST(Trap, 27_ASnapshotDoesNotFollowTheLiveState) {
  Engine engine(tiny());
  engine.feed(kPrompt);
  const auto snapshot = engine.snapshot();
  const auto bytes = snapshot.at(0).bytes;
  follow(engine, {1, 2, 3, 4});  // moves every state in place
  EXPECT_EQ(snapshot.at(0).bytes, bytes);
  EXPECT_NE(engine.snapshot().at(0).bytes, bytes);
  engine.restore(snapshot);
  EXPECT_EQ(engine.snapshot().at(0).bytes, bytes);
}

// A token of context costs its key and its value in every attention layer; what the allocator gave is that, up to its alignment.
TEST(Trap, 29_BytesOfTheAllocatorEqualTheFormula) {
  std::map<std::int64_t, std::int64_t> bytes;
  for (const std::int64_t capacity : {64, 256, 1024}) {
    EngineOptions options = tiny();
    options.capacity_tokens = capacity;
    bytes[capacity] = Engine(options).state_bytes();
  }
  const Engine engine(tiny());
  const ModelConfig& config = engine.config();
  const std::int64_t attention = std::count(config.full_attention.begin(), config.full_attention.end(), true);
  const std::int64_t token_bytes = attention * 2 * config.kv_heads * config.head_dim * 2;  // f16 keys and values
  EXPECT_EQ(bytes[256] - bytes[64], 192 * token_bytes);
  EXPECT_EQ(bytes[1024] - bytes[256], 768 * token_bytes);
}

}  // namespace
}  // namespace crossover
