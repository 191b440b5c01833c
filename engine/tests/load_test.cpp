// Loading: the same weights under every schedule, reading mode, order and pin; and what each rank holds.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "engine/checkpoint/write_gguf.h"
#include "engine/load/convert.h"
#include "engine/load/quantize_file.h"
#include "engine/tests/loaded_models.h"
#include "kernels/cpu/isa.h"

namespace crossover {
namespace {

namespace fs = std::filesystem;
using test::dense, test::knobs_of, test::logits_of, test::moe, test::options_of, test::read_bytes, test::Settings, test::TempFolder;

constexpr const char* kSchedules[] = {"serial", "expert-spawn", "expert-per-thread", "chunk-queue", "pool"};

TEST(Load, QuantizedFilesAreTheSameUnderEverySchedule) {
  const TempFolder folder;
  std::string expected;
  for (const char* schedule : kSchedules)
    for (int threads : {1, 2, 3, 13, 47}) {
      QuantizeOptions options{DType::kQ6_K, threads, knobs_of({{"CROSSOVER_QUANT_SCHEDULE", schedule}}), {}};
      const QuantizeReport report = quantize_checkpoint(moe(), folder / "x.gguf", options);
      const std::string bytes = read_bytes(folder / "x.gguf");
      if (expected.empty()) expected = bytes;
      EXPECT_TRUE(bytes == expected) << schedule << " with " << threads;
      EXPECT_EQ(report.thread_busy_s.size(), static_cast<std::size_t>(threads));
      fs::remove(folder / "x.gguf");
    }
}

TEST(Load, LaunchesEqualTheClosedForm) {
  const TempFolder folder;
  const Source source = open_checkpoint(moe());
  for (const char* schedule : kSchedules)
    for (int threads : {1, 2, 13, 47}) {
      std::int64_t expected = 0;
      for (const SourceTensor& tensor : source.tensors) {
        if (!needs_quantizing(tensor, target_type(tensor, DType::kQ6_K))) continue;
        const std::int64_t rows = chunk_rows(parse_schedule(schedule), tensor.shape[2]);
        expected += launches(parse_schedule(schedule), tensor.shape[0], (tensor.shape[1] + rows - 1) / rows, threads);
      }
      QuantizeOptions options{DType::kQ6_K, threads, knobs_of({{"CROSSOVER_QUANT_SCHEDULE", schedule}}), {}};
      const QuantizeReport report = quantize_checkpoint(moe(), folder / "x.gguf", options);
      EXPECT_EQ(report.counters.counts.at("launches.quantize"), expected) << schedule << " with " << threads;
      fs::remove(folder / "x.gguf");
    }
}

TEST(Load, AResultNamesTheScheduleThatRan) {
  const TempFolder folder;
  // 26 experts over 13 threads: whole experts; tensors that are not experts cannot be dealt so.
  QuantizeOptions options{DType::kQ6_K, 13, knobs_of({{"CROSSOVER_QUANT_SCHEDULE", "expert-per-thread"}, {"CROSSOVER_ISA", "portable"}}), {}};
  const QuantizeReport report = quantize_checkpoint(moe(), folder / "x.gguf", options);
  const std::string path = report.counters.paths.at("quantize");
  EXPECT_NE(path.find("expert-per-thread-portable"), std::string::npos) << path;
  EXPECT_NE(path.find("expert-spawn-portable"), std::string::npos) << path;
}

TEST(Load, RanksHoldTheSameWeightsHoweverTheyWereLoaded) {
  Engine expected(options_of(moe(), 2, 2));
  const std::vector<float> logits = logits_of(expected);
  std::vector<Settings> variants;
  for (const char* schedule : kSchedules) variants.push_back({{"CROSSOVER_QUANT_SCHEDULE", schedule}});
  for (const char* read : {"mmap", "pread", "direct", "uring"})
    for (const char* ahead : {"0", "1"}) variants.push_back({{"CROSSOVER_READ", read}, {"CROSSOVER_READ_AHEAD", ahead}});
  variants.push_back({{"CROSSOVER_LOAD_BUFFER_MIB", "1"}, {"CROSSOVER_READ", "pread"}, {"CROSSOVER_READ_THREADS", "3"}});
  variants.push_back({{"CROSSOVER_LOAD_BUFFER_MIB", "1"}, {"CROSSOVER_READ", "pread"}, {"CROSSOVER_QUANT_SCHEDULE", "expert-per-thread"}});
  variants.push_back({{"CROSSOVER_LOAD_ORDER", "in-turn"}});
  for (const char* pin : {"plain", "huge", "mlock"}) variants.push_back({{"CROSSOVER_PIN", pin}});
  for (const Settings& settings : variants)
    for (int threads : {2, 5}) {
      std::string what;
      for (const auto& [name, value] : settings) what += name + "=" + value + " ";
      try {
        Engine engine(options_of(moe(), 2, threads, settings));
        EXPECT_EQ(logits_of(engine), logits) << what << threads;
        for (const RankLoadDetails& rank : engine.load_report().details) EXPECT_GT(rank.bytes_read, rank.quantized_values) << what;
      } catch (const std::runtime_error& error) {
        // Some file systems know no O_DIRECT, some containers no io_uring: then the message says what to use.
        const std::string message = error.what();
        if (message.find("CROSSOVER_READ") == std::string::npos && message.find("CROSSOVER_PIN") == std::string::npos) throw;
      }
    }
}

// The same weights in both layouts. Products with panels round activations to 8 bits wherever they run, and to a wider scale where the sum of 16
// would not fit 16 bits; those with rows only where the CPU has instructions for it. So each may be off by what 8 bits may cost a model:
// 2.5e-3 of the power, and 8e-3 where another rounding may choose other experts.
TEST(Load, WeightsLieInPanelsWhereTheBackendTakesThem) {
  const auto run = [](const fs::path& model, int ranks, const char* layout, const char* backend = "cpu") {
    EngineOptions options = options_of(model, ranks, ranks, {{"CROSSOVER_WEIGHT_LAYOUT", layout}});
    options.backend = backend;
    Engine engine(options);
    const std::vector<float> logits = logits_of(engine);
    const Counters counters = engine.counters();
    return std::pair(logits, counters.paths.contains("weights") ? counters.paths.at("weights") : "");
  };
  for (const fs::path& model : {moe(), dense(false), dense(true)})
    for (const int ranks : {1, 2}) {
      const auto [rows, rows_path] = run(model, ranks, "rows");
      const auto [panels, panels_path] = run(model, ranks, "panels");
      EXPECT_EQ(rows_path, "");
      EXPECT_EQ(panels_path, "panels");
      EXPECT_EQ(run(model, ranks, "auto"), cpu::highest_isa() == cpu::Isa::kPortable ? std::pair(rows, rows_path) : std::pair(panels, panels_path));
      double error = 0, power = 0;
      for (std::size_t i = 0; i < rows.size(); ++i) error += std::pow(rows[i] - panels[i], 2), power += std::pow(rows[i], 2);
      EXPECT_LT(error, (model == moe() ? 8e-3 : 2.5e-3) * power) << model << " on " << ranks;
    }
  EXPECT_EQ(run(moe(), 1, "auto", "reference").second, "");
  Engine portable(options_of(moe(), 1, 1, {{"CROSSOVER_ISA", "portable"}}));
  EXPECT_FALSE(portable.counters().paths.contains("weights"));
  EXPECT_THROW(run(moe(), 1, "panels", "reference"), std::invalid_argument);
}

// Of rank 1, whose head the policy is about.
std::int64_t second_rank_bytes(const fs::path& model, const char* policy, std::vector<float>& logits) {
  Engine engine(options_of(model, 2, 2, {{"CROSSOVER_LM_HEAD", policy}}));
  logits = logits_of(engine);
  return engine.load_report().details[1].weight_bytes;
}

TEST(Load, HeadPolicyMovesTheBytesItSays) {
  const std::int64_t vocab = 1000, hidden = 256, stored = vocab * hidden * 2;
  const auto rows = [&](std::int64_t n) { return n * row_bytes(DType::kQ6_K, hidden); };
  const auto panels = [&](std::int64_t n) { return rows((n + kPanelRows - 1) / kPanelRows * kPanelRows); };
  for (bool tied : {false, true}) {
    std::vector<float> expected, logits;
    const std::int64_t sharded = second_rank_bytes(dense(tied), "sharded", expected);
    const std::int64_t absent = second_rank_bytes(dense(tied), "rank0", logits);
    EXPECT_EQ(logits, expected);
    EXPECT_EQ(sharded - absent, tied ? 0 : panels(vocab / 2));  // a tied one is the embedding, which stays
    // Beside a head of its own the tied embedding only embeds, and lies in rows.
    const std::int64_t beside = tied ? absent - panels(vocab / 2) + rows(vocab / 2) : absent;
    EXPECT_EQ(second_rank_bytes(dense(tied), "every-rank-quantized", logits) - beside, panels(vocab));
    EXPECT_EQ(logits, expected);
    EXPECT_EQ(second_rank_bytes(dense(tied), "every-rank-plain", logits) - beside, stored);
    EXPECT_EQ(logits, expected);
  }
}

// Leaves only the first layer in a checkpoint of one file.
void keep_first_layer(const fs::path& folder) {
  nlohmann::json config = nlohmann::json::parse(read_bytes(folder / "config.json"));
  nlohmann::json& text = config.contains("text_config") ? config["text_config"] : config;
  text["num_hidden_layers"] = 1;
  text["layer_types"] = {"linear_attention"};
  test::write_bytes(folder / "config.json", config.dump());
  const std::string file = read_bytes(folder / "model.safetensors");
  std::uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, file.data(), sizeof header_bytes);
  const nlohmann::json header = nlohmann::json::parse(file.substr(8, header_bytes));
  nlohmann::json kept;
  std::string data;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__" || (name.find(".layers.") != std::string::npos && name.find(".layers.0.") == std::string::npos)) continue;
    const auto begin = entry["data_offsets"][0].get<std::uint64_t>(), end = entry["data_offsets"][1].get<std::uint64_t>();
    kept[name] = entry;
    kept[name]["data_offsets"] = {data.size(), data.size() + end - begin};
    data += file.substr(8 + header_bytes + begin, end - begin);
  }
  std::string bytes = kept.dump();
  const std::uint64_t count = bytes.size();
  test::write_bytes(folder / "model.safetensors", std::string(reinterpret_cast<const char*>(&count), sizeof count) + bytes + data);
}

// One layer whose value heads make rows of 384: no whole Q6_K blocks, so they fall back to Q8_0.
TEST(Load, OneLayerWithRowsThatAreNotWholeBlocks) {
  const TempFolder folder;
  SynthOptions options;
  options.preset = "tiny-dense";
  options.vocab = 64;
  options.key_heads = 1;
  options.value_heads = 3;
  write_synth(options, folder / "m");
  keep_first_layer(folder / "m");
  EngineOptions quantized = options_of(folder / "m", 1, 2), plain = quantized;
  plain.weights = DType::kF32;
  Engine engine(quantized), reference(plain);
  EXPECT_EQ(engine.config().layers, 1);
  const std::vector<float> expected = logits_of(reference), found = logits_of(engine);
  double error = 0, power = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) error += std::pow(found[i] - expected[i], 2), power += std::pow(expected[i], 2);
  EXPECT_LT(error, 4e-3 * power);
  quantize_checkpoint(folder / "m", folder / "m.gguf", {DType::kQ6_K, 2, {}, {}});
  EXPECT_EQ(open_checkpoint(folder / "m.gguf").find("blk.0.ssm_out.weight")->dtype, DType::kQ8_0);
  EngineOptions from_file = quantized;
  from_file.model = folder / "m.gguf", from_file.weights = std::nullopt;
  Engine again(from_file);
  EXPECT_EQ(logits_of(again), found);
}

}  // namespace
}  // namespace crossover
