// The engine on synthetic checkpoints: refusals, state, caches, paths. Numbers are compared in reference_models_test.cpp.
#include "engine/engine.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "engine/checkpoint/safetensors.h"
#include "engine/checkpoint/synth.h"
#include "engine/generate.h"
#include "engine/tests/checkpoint_files.h"
#include "engine/tests/reference_model.h"
#include "kernels/cuda/runtime.h"

namespace crossover {
namespace {

namespace fs = std::filesystem;
using test::message_of;

const fs::path& checkpoint(const std::string& preset) {
  static const test::TempFolder folder;
  static std::map<std::string, fs::path> made;
  auto [it, is_new] = made.try_emplace(preset, folder / preset);
  if (is_new) {
    SynthOptions options;
    options.preset = preset;
    options.seed = 5;
    write_synth(options, it->second);
  }
  return it->second;
}

EngineOptions tiny(const std::string& preset = "tiny-dense") {
  EngineOptions options;
  options.model = checkpoint(preset);
  options.capacity_tokens = 64;
  return options;
}

const std::vector<std::int32_t> kPrompt{3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9};

std::vector<float> copy(std::span<const float> row) { return {row.begin(), row.end()}; }

TEST(Engine, RefusesWhatCannotBe) {
  auto refusal = [](auto change) {
    EngineOptions options = tiny();
    change(options);
    return message_of([&] { Engine engine(options); });
  };
  EXPECT_NE(refusal([](auto& o) { o.backend = "metal"; }).find("there is no backend 'metal'; use cpu, cuda or reference"), std::string::npos);
  if (cuda::device_count() == 0) {
    EXPECT_TRUE(refusal([](auto& o) { o.backend = "cuda"; }).starts_with("backend cuda: "));
  }
  EXPECT_NE(refusal([](auto& o) { o.ranks = 0; }).find("ranks must be at least 1"), std::string::npos);
  EXPECT_NE(refusal([](auto& o) { o.ranks = 7; }).find("attn_q.weight"), std::string::npos);
  EXPECT_NE(refusal([](auto& o) { o.threads = 0; }).find("threads must be at least 1"), std::string::npos);
  EXPECT_NE(refusal([](auto& o) { o.chunk_tokens = 0; }).find("chunk"), std::string::npos);
  EXPECT_NE(refusal([](auto& o) { o.keys = DType::kQ6_K; }).find("q6_k is not supported"), std::string::npos);
  EXPECT_NE(refusal([](auto& o) { o.capacity_tokens = 0; }).find("at least 1 token"), std::string::npos);
  EXPECT_NE(refusal([](auto& o) { o.model = "/no/such/model"; }).find("/no/such/model"), std::string::npos);
}

TEST(Engine, RefusedTokensLeaveTheSequenceAsItWas) {
  Engine engine(tiny());
  const std::vector<float> expected = copy(engine.feed(kPrompt));
  engine.reset();
  const std::vector<std::int32_t> outside{1, 1 << 20}, negative{-1}, none, many(65, 1);
  EXPECT_NE(message_of([&] { engine.feed(outside); }).find("1048576 is outside the vocabulary"), std::string::npos);
  EXPECT_NE(message_of([&] { engine.feed(negative); }).find("-1 is outside"), std::string::npos);
  EXPECT_NE(message_of([&] { engine.feed(none); }).find("the prompt is empty"), std::string::npos);
  EXPECT_NE(message_of([&] { engine.feed(many); }).find("do not fit the KV capacity of 64"), std::string::npos);
  EXPECT_EQ(engine.tokens(), 0);
  EXPECT_EQ(copy(engine.feed(kPrompt)), expected);
}

TEST(Engine, HalfAdvancedStateRefusesFurtherUse) {
  Engine engine(tiny());
  const std::vector<float> expected = copy(engine.feed(kPrompt));
  engine.reset();
  engine.set_probe(0, [](std::string_view what, std::int64_t layer, ConstRows) {
    if (what == "hidden" && layer == 1) throw std::runtime_error("injected");
  });
  EXPECT_EQ(message_of([&] { engine.feed(kPrompt); }), "injected");
  engine.set_probe(0, {});
  EXPECT_NE(message_of([&] { engine.feed(kPrompt); }).find("half advanced"), std::string::npos);
  EXPECT_NE(message_of([&] { engine.snapshot(); }).find("half advanced"), std::string::npos);
  engine.reset();
  EXPECT_EQ(copy(engine.feed(kPrompt)), expected);
}

TEST(Engine, AFailureOnOneOfTwoRanksEndsThePass) {
  EngineOptions options = tiny();
  options.ranks = 2;
  Engine engine(options);
  engine.set_probe(1, [](std::string_view what, std::int64_t, ConstRows) {
    if (what == "embed") throw std::runtime_error("injected on rank 1");
  });
  EXPECT_EQ(message_of([&] { engine.feed(kPrompt); }), "injected on rank 1");
  engine.set_probe(1, {});
  engine.reset();
  EXPECT_EQ(engine.feed(kPrompt).size(), static_cast<std::size_t>(engine.config().vocab));
}

// What quantizing keys and values costs here was measured once; a wrong scale or layout costs hundreds of times more.
TEST(Engine, EveryCacheTypeComesCloseToF32) {
  const std::map<DType, double> limits{{DType::kF16, 1e-2}, {DType::kBF16, 3e-2}, {DType::kQ8_0, 5e-2}, {DType::kQ4_0, 0.6}};
  for (const char* preset : {"tiny-dense", "tiny-moe"}) {
    EngineOptions options = tiny(preset);
    options.weights = DType::kF32;
    options.keys = options.values = DType::kF32;
    const std::vector<float> expected = copy(Engine(options).feed(kPrompt));
    for (const auto& [type, limit] : limits) {
      for (int ranks : {1, 2}) {
        options.keys = options.values = type;
        options.ranks = ranks;
        Engine engine(options);
        const std::vector<float> found = copy(engine.feed(kPrompt));
        const double error = test::max_error(found.data(), expected);
        EXPECT_LE(error, limit) << preset << ' ' << name(type);
        EXPECT_GT(error, 0.0) << preset << ' ' << name(type);
      }
    }
  }
}

TEST(Engine, KnobsChangeThePathAndTheCountersSayWhichRan) {
  for (const char* kernel : {"recurrent", "chunked", "chunked-f32"}) {
    EngineOptions options = tiny();
    options.knobs.set("CROSSOVER_GDN_PREFILL", kernel, "test");
    options.knobs.set("CROSSOVER_GDN_DECODE", kernel, "test");
    Engine engine(options);
    engine.feed(kPrompt);
    engine.feed({&kPrompt[0], 1});
    const bool tiles = engine.isa() == "amx" && std::string_view(kernel) == "chunked";  // only that form takes them
    const std::string isa = engine.isa() == "amx" && !tiles ? "avx512" : engine.isa();
    EXPECT_TRUE(engine.counters().paths.at("gdn").starts_with(isa + "-" + kernel)) << engine.counters().paths.at("gdn");
    EXPECT_EQ(engine.counters().counts.at("launches.gdn_mixer"), 2 * 3);  // two passes, three GDN layers of four
  }
}

TEST(Engine, LoadPhasesSumToTheLoadOfEveryRank) {
  for (const char* schedule : {"serial", "pool"}) {
    for (const char* read : {"mmap", "pread"}) {
      EngineOptions options = tiny("tiny-moe");
      options.weights = DType::kQ6_K;
      options.ranks = 2;
      options.threads = 4;
      options.knobs.set("CROSSOVER_QUANT_SCHEDULE", schedule, "test");
      options.knobs.set("CROSSOVER_READ", read, "test");
      Engine engine(options);
      const LoadReport& report = engine.load_report();
      ASSERT_EQ(report.ranks.size(), 2u);
      for (const RankPhases& rank : report.ranks) {
        double sum_s = 0;
        for (const PhaseShare& phase : rank.phases) sum_s += phase.share_s;
        EXPECT_NEAR(sum_s, report.total_s, 1e-6 + 1e-6 * report.total_s);
      }
      EXPECT_TRUE(engine.counters().paths.at("quantize").starts_with(schedule));
    }
  }
}

TEST(Engine, SchedulesReadersThreadsAndRanksGiveTheSameLogits) {
  for (const char* preset : {"tiny-dense", "tiny-moe"}) {
    EngineOptions options = tiny(preset);
    options.weights = DType::kQ6_K;
    const std::vector<float> expected = copy(Engine(options).feed(kPrompt));
    for (const char* schedule : {"serial", "pool"}) {
      for (int threads : {1, 2, 3, 13}) {
        options.threads = threads;
        options.knobs.set("CROSSOVER_QUANT_SCHEDULE", schedule, "test");
        options.knobs.set("CROSSOVER_READ", threads % 2 ? "mmap" : "pread", "test");
        EXPECT_EQ(copy(Engine(options).feed(kPrompt)), expected) << preset << ' ' << schedule << ' ' << threads;
      }
    }
  }
}

TEST(Engine, NotFiniteWeightsAreNamed) {
  const test::TempFolder folder;
  SynthOptions synth;
  synth.preset = "tiny-dense";
  const std::map<std::string, std::string> damaged{{"model.language_model.layers.1.mlp.up_proj.weight", "blk.1.ffn_up.weight"},
                                                   {"model.language_model.norm.weight", "output_norm.weight"}};
  for (const auto& [stored, name] : damaged) {
    const fs::path dir = folder / name;
    write_synth(synth, dir);
    const fs::path file = dir / "model.safetensors";
    for (const StoredTensor& tensor : read_safetensors_header(file)) {
      if (tensor.name != stored) continue;
      std::fstream stream(file, std::ios::binary | std::ios::in | std::ios::out);
      stream.seekp(static_cast<std::streamoff>(tensor.offset) + 2 * 5);  // bf16: column 5 of row 0
      stream.write("\xc0\x7f", 2);                                       // a quiet NaN
    }
    for (const std::optional<DType> weights : {std::optional<DType>(), std::optional(DType::kF32), std::optional(DType::kQ6_K)}) {
      EngineOptions options;
      options.model = dir;
      options.weights = weights;
      const std::string message = message_of([&] { Engine engine(options); });
      EXPECT_NE(message.find(name), std::string::npos) << message;
      EXPECT_NE(message.find("nan at row 0, column 5"), std::string::npos) << message;
    }
  }
}

TEST(Engine, SnapshotsOfAnotherShapeAreRefused) {
  EngineOptions options = tiny();
  Engine one(options);
  one.feed(kPrompt);
  options.keys = DType::kF32;
  Engine other(options);
  EXPECT_NE(message_of([&] { other.restore(one.snapshot()); }).find("does not fit a state of f32 keys"), std::string::npos);
  options = tiny();
  options.ranks = 2;
  Engine two(options);
  EXPECT_NE(message_of([&] { two.restore(one.snapshot()); }).find("of 1 ranks does not fit an engine of 2"), std::string::npos);
}

TEST(Generate, StopsAtEndOfTextUnlessToldNotTo) {
  Engine engine(tiny());
  const std::vector<std::int32_t> all = generate(engine, {kPrompt, 12, {}, true});
  EXPECT_EQ(all.size(), 12u);
  engine.reset();
  std::int64_t rows = 0, next = 0;
  GenerateEvents events;
  events.row = [&](std::int64_t first, ConstRows r) {
    EXPECT_EQ(first, next);
    next = first + r.rows;
    rows += r.rows;
  };
  EXPECT_EQ(generate(engine, {kPrompt, 12, {}, true}, events), all);
  EXPECT_EQ(rows, static_cast<std::int64_t>(kPrompt.size()) + 11);
}

}  // namespace
}  // namespace crossover
