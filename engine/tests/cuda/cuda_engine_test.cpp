// The engine on a GPU, end to end. Built twice: for a real one, and for the emulated one, where nothing but uploads, downloads and kernels
// reaches device memory, whose pages are closed to everyone else. Numbers against tensors of an independent implementation; limits are those of products rounded to bf16.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "engine/tests/reference_model.h"
#include "kernels/cuda/runtime.h"
#ifdef CROSSOVER_CUDA_EMULATED
#include "kernels/cuda/emulator/machine.h"
#endif

namespace crossover::test {
namespace {

class CudaEngine : public testing::Test {
 protected:
  void SetUp() override {
    std::string why;
    if (cuda::device_count(&why) == 0) GTEST_SKIP() << why;
  }
};

#ifdef CROSSOVER_CUDA_EMULATED
constexpr bool kEmulated = true;  // some thousand times slower: models of the tree alone, and of each question the cases that differ
#else
constexpr bool kEmulated = false;
#endif

EngineOptions on_gpu(const ReferenceModel& model) {
  EngineOptions options = options_for(model);
  options.backend = "cuda";
  options.rehearses = !kEmulated;
  return options;
}

std::vector<const ReferenceModel*> models(const std::vector<std::string>& when_emulated) {
  std::vector<const ReferenceModel*> chosen;
  for (const ReferenceModel& model : reference_models())
    if (!kEmulated || std::find(when_emulated.begin(), when_emulated.end(), model.name) != when_emulated.end()) chosen.push_back(&model);
  EXPECT_GE(chosen.size(), when_emulated.size()) << "models that there are not";
  return chosen;
}

std::vector<std::int32_t> fed(const ReferenceModel& model) { return {model.greedy.begin(), model.greedy.end() - 1}; }
std::int64_t vocab(const ReferenceModel& model) { return model.golden.at("logits").shape[1]; }
bool has_experts(const ReferenceModel& model) { return model.golden.contains("moe0.out"); }

// Medians over rows of prompt and decode against `expected`.
void expect_close(const ReferenceModel& model, const std::map<std::string, Expected>& expected, const std::vector<float>& found, double limit, const std::string& what) {
  const std::int64_t v = vocab(model);
  const float* decode = found.data() + static_cast<std::int64_t>(model.prompt.size()) * v;
  EXPECT_LE(median_row_nmse(found.data(), expected.at("logits").values, v), limit) << model.name << ' ' << what;
  EXPECT_LE(median_row_nmse(decode, expected.at("decode_logits").values, v), limit) << model.name << ' ' << what << " decode";
}

TEST_F(CudaEngine, LogitsStayWithinWhatBf16ProductsCost) {
  const std::vector<const ReferenceModel*> chosen = models({"synth-dense-r3", "synth-moe-r2-packed", "synth-next-r2-fused"});
  ASSERT_FALSE(chosen.empty());
  for (const ReferenceModel* one : chosen)
    for (const std::int64_t chunk : {65, 1}) {
      const ReferenceModel& model = *one;
      if (kEmulated && chunk == 1) continue;  // tokens that follow the prompt are fed one at a time anyway
      EngineOptions options = on_gpu(model);
      options.chunk_tokens = chunk;
      Engine engine(options);
      EXPECT_TRUE(engine.isa().starts_with("sm_")) << engine.isa();
      expect_close(model, model.golden, run_logits(engine, model.prompt, fed(model)), has_experts(model) ? 1e-3 : 5e-4, "chunk " + std::to_string(chunk));
    }
}

// The models here have smaller heads than attention by warpgroups takes: the operation suite tests that; their prompts are long enough for products.
TEST_F(CudaEngine, WarpgroupsAreUsedWhereAskedForAndRefusedWhereTheGpuHasNone) {
  for (const ReferenceModel* one : models({"synth-dense-r3"})) {
    if (one->q6_k.empty()) continue;
    EngineOptions options = on_gpu(*one);
    options.weights = DType::kQ6_K;
    options.knobs.set("CROSSOVER_CUDA_PRODUCTS", "warpgroup", "test");
    if (cuda::Device(0).facts().compute_capability != 90) {
      EXPECT_THROW(Engine{options}, std::runtime_error);
      if (!kEmulated) continue;
    }
#ifdef CROSSOVER_CUDA_EMULATED
    cuda::emulated::set_compute_capability(90);
#endif
    Engine engine(options);
#ifdef CROSSOVER_CUDA_EMULATED
    cuda::emulated::set_compute_capability(80);
#endif
    EXPECT_EQ(engine.isa(), "sm_90");
    expect_close(*one, one->q6_k, run_logits(engine, one->prompt, fed(*one)), has_experts(*one) ? 1e-3 : 5e-4, "warpgroups");
    const std::string path = engine.counters().paths.at("matmul.q6_k");
    EXPECT_NE(path.find("gemm-wgmma-bf16"), std::string::npos) << path;
  }
}

// The same bits. The emulation has launches one after the other, and sees that every kernel waits for those before it.
TEST_F(CudaEngine, LaunchesOverlapWhereAskedForAndTheGpuCan) {
  const ReferenceModel& model = *models({"synth-moe-r2-packed"}).front();
  const auto last_row = [&](const char* overlap, const char* graph) {
    EngineOptions options = on_gpu(model);
    options.knobs.set("CROSSOVER_CUDA_OVERLAP", overlap, "test"), options.knobs.set("CROSSOVER_CUDA_GRAPH", graph, "test");
    Engine engine(options);
    EXPECT_EQ(engine.counters().paths.at("launch"), overlap == std::string("on") ? "overlapped" : "in-turn");
    engine.feed(model.prompt_short);
    const std::span<const float> row = engine.feed(std::vector<std::int32_t>{1});
    return std::vector<float>(row.begin(), row.end());
  };
#ifdef CROSSOVER_CUDA_EMULATED
  EXPECT_THROW(last_row("on", "off"), std::runtime_error);
  cuda::emulated::set_compute_capability(90);
#else
  if (cuda::Device(0).facts().compute_capability != 90) GTEST_SKIP() << "needs compute capability 9.0";
#endif
  const std::vector<float> expected = last_row("off", "off");
  EXPECT_EQ(last_row("on", "off"), expected);
  EXPECT_EQ(last_row("on", "on"), expected);
#ifdef CROSSOVER_CUDA_EMULATED
  cuda::emulated::set_compute_capability(80);
#endif
}

TEST_F(CudaEngine, QuantizedWeights) {
  for (const ReferenceModel* one : models({"synth-moe-r2-packed", "synth-dense-r3"})) {
    const ReferenceModel& model = *one;
    if (model.q6_k.empty()) continue;
    EngineOptions options = on_gpu(model);
    options.weights = DType::kQ6_K;
    Engine engine(options);
    expect_close(model, model.q6_k, run_logits(engine, model.prompt, fed(model)), has_experts(model) ? 1e-3 : 5e-4, "q6_k");
  }
}

// Virtual ranks: several on one device, sums by way of the host.
TEST_F(CudaEngine, TwoRanksOnOneDevice) {
  for (const ReferenceModel* one : models({"synth-moe-r2-packed"})) {
    const ReferenceModel& model = *one;
    EngineOptions options = on_gpu(model);
    options.ranks = 2;
    Engine engine(options);
    expect_close(model, model.golden, run_logits(engine, model.prompt, fed(model)), has_experts(model) ? 1e-3 : 5e-4, "two ranks");
  }
}

TEST_F(CudaEngine, ASnapshotBringsTheSequenceBack) {
  const ReferenceModel& model = reference_models().front();
  Engine engine(on_gpu(model));
  engine.feed(model.prompt_short);
  const auto kept = engine.snapshot();
  const std::vector<std::int32_t> next{1};
  const std::span<const float> row = engine.feed(next);
  const std::vector<float> expected(row.begin(), row.end());
  engine.reset();
  engine.feed(model.prompt_short);
  engine.restore(kept);
  const std::span<const float> again = engine.feed(next);
  EXPECT_EQ(std::vector<float>(again.begin(), again.end()), expected);
}

// Every byte of the device is a weight, a state or scratch memory, and goes back.
TEST_F(CudaEngine, DeviceMemoryIsAccountedFor) {
  ASSERT_EQ(cuda::held_bytes(), 0);
  {
    const ReferenceModel& model = reference_models().front();
    Engine engine(on_gpu(model));
    engine.feed(model.prompt_short);
    EXPECT_EQ(cuda::held_bytes(), engine.total_weight_bytes() + engine.state_bytes() + engine.workspace_bytes());
    EXPECT_GT(engine.workspace_bytes(), 0);
  }
  EXPECT_EQ(cuda::held_bytes(), 0);
}

// They leave a sequence without tokens and counters of nothing but the passes that follow.
TEST_F(CudaEngine, FirstPassesBelongToTheLoad) {
  const ReferenceModel& model = reference_models().front();
  const auto engine_that = [&](bool rehearses) {
    EngineOptions options = on_gpu(model);
    options.rehearses = rehearses, options.capacity_tokens = 20, options.chunk_tokens = 9;
    return std::make_unique<Engine>(options);
  };
  const auto first_pass = engine_that(false), later_pass = engine_that(true);
  EXPECT_EQ(later_pass->tokens(), 0);
  const auto phases_of_load = [](const Engine& engine) {
    std::vector<std::string> names;
    for (const PhaseShare& phase : engine.load_report().ranks.front().phases) names.push_back(phase.name);
    return names;
  };
  EXPECT_EQ(std::ranges::count(phases_of_load(*first_pass), "first_passes"), 0);
  EXPECT_EQ(std::ranges::count(phases_of_load(*later_pass), "first_passes"), 1);
  const std::vector<std::int32_t> prompt(model.prompt.begin(), model.prompt.begin() + 11), next{1};
  for (const auto& tokens : {prompt, next, next}) {
    const std::span<const float> expected = first_pass->feed(tokens), found = later_pass->feed(tokens);
    EXPECT_TRUE(std::ranges::equal(found, expected));
  }
  EXPECT_EQ(later_pass->counters().counts, first_pass->counters().counts);
  EXPECT_EQ(later_pass->counters().paths, first_pass->counters().paths);
}

// Shares of the device's time over a pass of several tokens and one of one; names without "other".
std::vector<std::string> phases_of_a_pass(Engine& engine, std::size_t tokens) {
  const std::vector<std::int32_t> ids(tokens, 1);
  engine.clear_phases();
  const double begin_s = monotonic_s();
  engine.feed(ids);
  const double end_s = monotonic_s();
  std::vector<std::string> names;
  double sum_s = 0;
  const std::vector<RankPhases> ranks = engine.phases(begin_s, end_s);
  for (const PhaseShare& phase : ranks.front().phases) {
    sum_s += phase.share_s;
    if (phase.name != "other") names.push_back(phase.name);
  }
  EXPECT_NEAR(sum_s, end_s - begin_s, 1e-7);
  return names;
}

TEST_F(CudaEngine, PhasesAreTheDevicesWhereTheKnobSaysSo) {
  const ReferenceModel& model = reference_models().front();
  for (const char* knob : {"auto", "events", "off"}) {
    EngineOptions options = on_gpu(model);
    options.knobs.set("CROSSOVER_GPU_PHASES", knob, "test");
    Engine engine(options);
    const std::vector<std::string> whole{"pass"};
    EXPECT_EQ(phases_of_a_pass(engine, 3) == whole, std::string_view(knob) == "off") << knob;
    EXPECT_EQ(phases_of_a_pass(engine, 1) == whole, std::string_view(knob) != "events") << knob;
    EXPECT_EQ(phases_of_a_pass(engine, 2) == whole, std::string_view(knob) == "off") << knob;
    EXPECT_EQ(engine.counters().paths.at("gpu_phases"), std::string_view(knob) == "auto" ? "events+off" : knob);
  }
}

TEST_F(CudaEngine, AListenerHearsPhasesAndLaunchesAreCounted) {
  struct Listener : RangeListener {
    std::map<std::string, int> heard;
    int open = 0;
    void opened(const char* name) override { ++heard[name], ++open; }
    void closed() override { --open; }
  } listener;
  Engine engine(on_gpu(reference_models().front()));
  engine.set_range_listener(&listener);
  const std::int64_t before = engine.kernel_launches();
  engine.feed(std::vector<std::int32_t>{1});
  EXPECT_GT(engine.kernel_launches(), before);
  EXPECT_GE(listener.heard["norm"], engine.config().layers);
  EXPECT_EQ(listener.open, 0);
  const auto heard = listener.heard;
  engine.set_range_listener(nullptr);
  engine.feed(std::vector<std::int32_t>{1});
  EXPECT_EQ(listener.heard, heard);
}

// What decode passes gave: the logits of each, and its launches.
struct Decoded {
  std::vector<std::vector<float>> logits;
  std::vector<std::int64_t> launches;
  void add(Engine& engine, std::int32_t token) {
    const std::int64_t before = engine.kernel_launches();
    const std::span<const float> row = engine.feed({&token, 1});
    logits.emplace_back(row.begin(), row.end());
    launches.push_back(engine.kernel_launches() - before);
  }
};

EngineOptions with_graphs(const ReferenceModel& model, const char* graphs, const char* phases = "auto") {
  EngineOptions options = on_gpu(model);
  options.knobs.set("CROSSOVER_CUDA_GRAPH", graphs, "test"), options.knobs.set("CROSSOVER_GPU_PHASES", phases, "test");
  return options;
}

// Tokens before and after the key from which on an attention is split among blocks and joined by a launch more; then, of an earlier sequence, again.
Decoded decode_over_a_split(Engine& engine, const std::vector<State::Snapshot>& kept) {
  Decoded decoded;
  engine.restore(kept);
  for (const std::int32_t token : {1, 2, 3, 4}) decoded.add(engine, token);
  const auto later = engine.snapshot();
  engine.restore(kept);
  decoded.add(engine, 4);
  engine.restore(later);
  decoded.add(engine, 3);
  engine.reset();
  decoded.add(engine, 1);
  return decoded;
}

TEST_F(CudaEngine, GraphsGiveTheBitsOfLaunchesOneByOne) {
  for (const ReferenceModel* one : models({"synth-dense-r3"})) {
    Engine alone(with_graphs(*one, "off"));
    constexpr std::size_t kWholeKeys = 32;  // of an f32 cache
    std::vector<std::int32_t> prompt = one->prompt;
    prompt.resize(kWholeKeys - 2, 1);
    alone.feed(prompt);
    const auto kept = alone.snapshot();
    const auto products = [](const Engine& engine) {
      const Counters counters = engine.counters();
      const auto it = counters.counts.find("launches.matmul");
      return it == counters.counts.end() ? 0 : it->second;
    };
    const std::int64_t of_prompt = products(alone);
    const Decoded expected = decode_over_a_split(alone, kept);
    EXPECT_EQ(alone.counters().paths.at("decode"), "launches");
    ASSERT_GT(expected.launches[3], expected.launches[0]) << "no attention was split";
    Engine graphs(with_graphs(*one, "auto"));
    const Decoded found = decode_over_a_split(graphs, kept);
    EXPECT_EQ(graphs.counters().paths.at("decode"), "graph");
    EXPECT_EQ(found.launches, expected.launches) << one->name;
    for (std::size_t i = 0; i < expected.logits.size(); ++i) EXPECT_EQ(found.logits[i], expected.logits[i]) << one->name << " pass " << i;
    EXPECT_EQ(products(graphs), products(alone) - of_prompt);
    EXPECT_GE(graphs.counters().counts.at("launches.graph"), static_cast<std::int64_t>(expected.logits.size()));
  }
}

// Where every range is timed or told to somebody, launches stay in their ranges: one by one, or by graphs that end with them.
TEST_F(CudaEngine, GraphsEndWithRangesThatAreTimedOrTold) {
  struct Listener : RangeListener {
    void opened(const char*) override {}
    void closed() override {}
  } listener;
  const ReferenceModel& model = reference_models().front();
  const auto path_of = [&](const char* graphs, const char* phases, RangeListener* who) {
    Engine engine(with_graphs(model, graphs, phases));
    engine.set_range_listener(who);
    Decoded decoded;
    decoded.add(engine, 1);
    const Counters counters = engine.counters();
    if (counters.paths.at("decode") == "graph") {
      EXPECT_GE(counters.counts.at("launches.graph"), 3 * engine.config().layers);
    }
    engine.set_range_listener(nullptr);
    decoded.add(engine, 2);
    return std::pair(engine.counters().paths.at("decode"), decoded.logits);
  };
  const auto [path, expected] = path_of("off", "off", nullptr);
  EXPECT_EQ(path, "launches");
  EXPECT_EQ(path_of("auto", "events", nullptr), std::pair(std::string("launches"), expected));
  EXPECT_EQ(path_of("auto", "off", &listener), std::pair(std::string("launches+graph"), expected));
  EXPECT_EQ(path_of("on", "events", nullptr), std::pair(std::string("graph"), expected));
  EXPECT_EQ(path_of("on", "off", &listener), std::pair(std::string("graph"), expected));
}

#ifdef CROSSOVER_CUDA_EMULATED
TEST_F(CudaEngine, WhereGraphsAreRefusedTheResultSaysSo) {
  const ReferenceModel& model = reference_models().front();
  Decoded expected, found;
  Engine alone(with_graphs(model, "off")), refused(with_graphs(model, "auto")), must(with_graphs(model, "on"));
  for (const std::int32_t token : {1, 2}) expected.add(alone, token);
  cuda::emulated::refuse_graphs_after(3);
  for (const std::int32_t token : {1, 2}) found.add(refused, token);
  EXPECT_THROW(must.feed(std::vector<std::int32_t>{1}), std::runtime_error);
  EXPECT_THROW(must.feed(std::vector<std::int32_t>{1}), std::runtime_error) << "half advanced";
  cuda::emulated::refuse_graphs_after(-1);
  EXPECT_EQ(found.logits, expected.logits);
  EXPECT_EQ(found.launches, expected.launches);
  EXPECT_EQ(refused.counters().paths.at("decode"), "graph+launches");
  EXPECT_NE(refused.counters().paths.at("decode.refused").find("told to refuse"), std::string::npos);
  EXPECT_FALSE(alone.counters().paths.contains("decode.refused"));
}
#endif

TEST_F(CudaEngine, ProbesSeeWhatTheDeviceHolds) {
  const ReferenceModel& model = reference_models().front();
  Engine engine(on_gpu(model));
  std::map<std::string, double> seen;
  engine.set_probe(0, [&](std::string_view name, std::int64_t layer, ConstRows values) {
    if (layer != 0) return;
    for (std::int64_t r = 0; r < values.rows; ++r)
      for (std::int64_t i = 0; i < values.dim; ++i) seen[std::string(name)] += std::abs(static_cast<double>(values.row(r)[i]));
  });
  engine.feed(model.prompt_short);
  EXPECT_GT(seen["embed"], 0);
  EXPECT_GT(seen["hidden"], 0);
}

}  // namespace
}  // namespace crossover::test
