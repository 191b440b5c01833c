// Loading: the same weights under every schedule, reading mode, order and pin; phases, delays and what each rank holds.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>

#include "engine/checkpoint/write_gguf.h"
#include "engine/engine.h"
#include "engine/load/convert.h"
#include "engine/load/quantize_file.h"
#include "engine/tests/checkpoint_files.h"
#include "kernels/cpu/isa.h"

namespace crossover {
namespace {

namespace fs = std::filesystem;
using test::read_bytes;
using test::TempFolder;

const std::vector<std::int32_t> kPrompt{3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9};

SynthOptions moe_options() {
  SynthOptions options;
  options.preset = "tiny-moe";
  options.experts = 26;
  options.vocab = 512;
  return options;
}

const fs::path& moe() {
  static const TempFolder folder;
  static const fs::path path = [] {
    write_synth(moe_options(), folder / "moe");
    return folder / "moe";
  }();
  return path;
}

const fs::path& dense(bool tied) {
  static const TempFolder folder;
  static std::map<bool, fs::path> made;
  auto [it, fresh] = made.try_emplace(tied, folder / (tied ? "tied" : "dense"));
  if (fresh) {
    SynthOptions options;
    options.preset = "tiny-dense";
    options.vocab = 1000;
    options.tied = tied;
    write_synth(options, it->second);
  }
  return it->second;
}

using Settings = std::map<std::string, std::string>;

Knobs knobs_of(const Settings& settings) {
  Knobs knobs;
  for (const auto& [name, value] : settings) knobs.set(name, value, "test");
  return knobs;
}

EngineOptions options_of(const fs::path& model, int ranks, int threads, const Settings& settings = {}) {
  EngineOptions options;
  options.model = model;
  options.weights = DType::kQ6_K;
  options.ranks = ranks;
  options.threads = threads;
  options.capacity_tokens = 32;
  options.knobs = knobs_of(settings);
  return options;
}

std::vector<float> logits_of(Engine& engine) {
  const std::span<const float> row = engine.feed(kPrompt);
  return {row.begin(), row.end()};
}

double share_s(const LoadReport& report, std::size_t rank, std::string_view phase) {
  for (const PhaseShare& share : report.ranks.at(rank).phases)
    if (share.name == phase) return share.share_s;
  return 0;
}

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

// The same weights in both layouts. Products with panels round activations to 8 bits wherever they run, and to a wider scale where the sum
// of 16 would not fit 16 bits; those with rows do so only where the CPU has instructions for it. Each may be off by 1.3e-3 of the power.
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
      EXPECT_LT(error, 2.5e-3 * power) << model << " on " << ranks;
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

// What all phases but one take of a rank's load.
double rest_s(const LoadReport& report, std::size_t rank, std::string_view phase) {
  double sum_s = 0, rest_s = 0;
  for (const PhaseShare& share : report.ranks.at(rank).phases) {
    sum_s += share.share_s;
    if (share.name != phase) rest_s += share.share_s;
  }
  EXPECT_NEAR(sum_s, report.total_s, 1e-6);
  return rest_s;
}

// One thread and nothing read ahead, so that a phase is the thread's own. The delay is far above what this load takes; a machine that
// is busy with other things may stretch the rest once, hence the best of a few loads.
TEST(Load, ADelayShowsUpInItsPhaseOnly) {
  constexpr double kDelay_s = 0.25;
  for (const char* phase : {"open", "state", "read", "gather", "cast", "first_touch", "quantize", "pack", "lm_head"}) {
    for (int ranks : {1, 2}) {
      double least_rest_s = 1e9;
      for (int attempt = 0; attempt < 5 && least_rest_s >= kDelay_s; ++attempt) {
        const Engine engine(options_of(dense(false), ranks, ranks, {{"CROSSOVER_LOAD_DELAY", std::string(phase) + ":250"}, {"CROSSOVER_READ_AHEAD", "0"}}));
        const LoadReport& report = engine.load_report();
        double worst_s = 0;
        for (std::size_t r = 0; r < report.ranks.size(); ++r) {
          EXPECT_GE(share_s(report, r, phase), kDelay_s) << phase << " of rank " << r << " of " << ranks;
          worst_s = std::max(worst_s, rest_s(report, r, phase));
        }
        least_rest_s = std::min(least_rest_s, worst_s);
      }
      EXPECT_LT(least_rest_s, kDelay_s) << phase << " with " << ranks << " ranks";
    }
  }
}

TEST(Load, ReadersAreDelayedToo) {
  const Engine engine(options_of(dense(false), 1, 1, {{"CROSSOVER_LOAD_DELAY", "read:250"}, {"CROSSOVER_READ_THREADS", "1"}}));
  EXPECT_GE(share_s(engine.load_report(), 0, "read"), 0.25);
}

TEST(Load, InTurnTheSecondRankWaitsForTheFirst) {
  const Settings settings{{"CROSSOVER_LOAD_ORDER", "in-turn"}, {"CROSSOVER_LOAD_DELAY", "quantize:200"}, {"CROSSOVER_READ_AHEAD", "0"}};
  const Engine engine(options_of(dense(false), 2, 2, settings));
  EXPECT_GE(share_s(engine.load_report(), 0, "wait"), 0.2);  // for the second
  EXPECT_GE(share_s(engine.load_report(), 1, "wait"), 0.2);
  EXPECT_GE(engine.load_report().total_s, 0.4);
}

TEST(Load, AFailedRankDoesNotLeaveTheOthersWaiting) {
  const TempFolder folder;
  fs::copy(dense(false), folder / "m", fs::copy_options::recursive);
  const Source source = open_checkpoint(folder / "m");
  // The last value row of a matrix that both ranks split by rows: only rank 1 meets it.
  const SourceTensor& tensor = *source.find("blk.0.ffn_up.weight");
  {
    std::fstream file(source.files[0], std::ios::binary | std::ios::in | std::ios::out);
    const RowSegment& last = tensor.segments.back();
    file.seekp(static_cast<std::streamoff>(last.offset + static_cast<std::uint64_t>((last.rows - 1) * last.stride_bytes)));
    file.write("\xff\x7f", 2);
  }
  for (const char* order : {"together", "in-turn"}) {
    const std::string message = test::message_of([&] { Engine engine(options_of(folder / "m", 2, 2, {{"CROSSOVER_LOAD_ORDER", order}})); });
    EXPECT_NE(message.find("blk.0.ffn_up.weight"), std::string::npos) << message;
    EXPECT_NE(message.find("row 511, column 0"), std::string::npos) << message;
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

// Loads and says what the cache did.
CacheOutcome cached_load(const EngineOptions& options, std::vector<float>& logits) {
  Engine engine(options);
  logits = logits_of(engine);
  return engine.load_report().cache;
}

TEST(LoadCache, TheSecondLoadReadsWhatTheFirstKept) {
  for (const char* head : {"sharded", "rank0", "every-rank-plain"})
    for (bool tied : {false, true}) {
      const TempFolder folder;
      const Settings settings{{"CROSSOVER_QUANT_CACHE", "folder"}, {"CROSSOVER_LM_HEAD", head}};
      std::vector<float> expected, logits;
      EngineOptions options = options_of(dense(tied), 2, 2, settings);
      options.cache_folder = folder.path();
      const CacheOutcome first = cached_load(options, expected);
      ASSERT_EQ(first.state, "built") << first.sentence;
      for (int ranks : {1, 2}) {
        for (const char* read : {"mmap", "pread", "direct", "uring"}) {
          EngineOptions again = options;
          again.ranks = ranks;
          again.knobs.set("CROSSOVER_READ", read, "test");
          again.knobs.set("CROSSOVER_LM_HEAD", "sharded", "test");
          CacheOutcome outcome;
          try {
            outcome = cached_load(again, logits);
          } catch (const std::runtime_error& error) {
            if (std::string(error.what()).find("CROSSOVER_READ") == std::string::npos) throw;
            continue;  // not on this file system
          }
          EXPECT_EQ(outcome.state, "hit") << outcome.sentence;
          EXPECT_EQ(outcome.file, first.file);
          if (ranks == 2) {
            EXPECT_EQ(logits, expected) << head << " " << read;
          }
        }
      }
      // The file is what `quantize` writes, but for its metadata.
      quantize_checkpoint(dense(tied), folder / "whole.gguf", {DType::kQ6_K, 1, {}, {}});
      const Source kept = open_checkpoint(first.file), whole = open_checkpoint(folder / "whole.gguf");
      ASSERT_EQ(kept.tensors.size(), whole.tensors.size());
      for (std::size_t i = 0; i < whole.tensors.size(); ++i)
        EXPECT_EQ(test::values_of(kept, kept.tensors[i]), test::values_of(whole, whole.tensors[i])) << whole.tensors[i].name;
    }
}

TEST(LoadCache, ADamagedPieceIsNamedAndMadeAgain) {
  const TempFolder folder;
  EngineOptions options = options_of(moe(), 2, 2, {{"CROSSOVER_QUANT_CACHE", "folder"}});
  options.cache_folder = folder.path();
  std::vector<float> expected, logits;
  const CacheOutcome first = cached_load(options, expected);
  ASSERT_EQ(first.state, "built") << first.sentence;
  const std::string good = read_bytes(first.file);
  LoadProgress whole;  // of a load that is not kept, and so converts nothing beside what ranks hold
  options.progress = &whole;
  options.knobs.set("CROSSOVER_QUANT_CACHE", "off", "test");
  logits_of(*std::make_unique<Engine>(options));
  options.knobs.set("CROSSOVER_QUANT_CACHE", "folder", "test");
  const std::int64_t weight_bytes = whole.state().total_bytes;
  for (const char* read : {"mmap", "pread"}) {
    std::string bad = good;
    bad[bad.size() * 2 / 3] = static_cast<char>(bad[bad.size() * 2 / 3] ^ 4);
    test::write_bytes(first.file, bad);
    options.knobs.set("CROSSOVER_READ", read, "test");
    LoadProgress progress;
    options.progress = &progress;
    const CacheOutcome again = cached_load(options, logits);
    options.progress = nullptr;
    EXPECT_EQ(progress.state().total_bytes, weight_bytes);  // of the second attempt alone
    EXPECT_EQ(progress.state().done_bytes, weight_bytes);
    EXPECT_EQ(progress.state().done_tensors, progress.state().total_tensors);
    EXPECT_EQ(again.state, "built") << again.sentence;
    EXPECT_NE(again.sentence.find("the file is damaged"), std::string::npos) << again.sentence;
    EXPECT_NE(again.sentence.find("blk."), std::string::npos) << again.sentence;
    EXPECT_EQ(logits, expected);
    EXPECT_EQ(cached_load(options, logits).state, "hit");
    EXPECT_EQ(logits, expected);
  }
}

TEST(LoadCache, BesideTheCheckpointAndFromAGgufFile) {
  const TempFolder folder;
  fs::copy(dense(false), folder / "m", fs::copy_options::recursive);
  std::vector<float> expected, logits;
  EngineOptions options = options_of(folder / "m", 2, 2, {{"CROSSOVER_QUANT_CACHE", "beside"}});
  const CacheOutcome first = cached_load(options, expected);
  ASSERT_EQ(first.state, "built") << first.sentence;
  EXPECT_EQ(fs::canonical(first.file.parent_path()), fs::canonical(folder / "m"));
  EXPECT_EQ(cached_load(options, logits).state, "hit");
  EXPECT_EQ(logits, expected);
  quantize_checkpoint(folder / "m", folder / "plain.gguf", {DType::kBF16, 2, {}, {}});
  options.model = folder / "plain.gguf";
  EXPECT_EQ(cached_load(options, logits).state, "built");
  EXPECT_EQ(cached_load(options, logits).state, "hit");
  EXPECT_EQ(logits, expected);
}

TEST(LoadCache, NothingToKeepAndNowhereToKeepIt) {
  const TempFolder folder;
  EngineOptions options = options_of(dense(false), 2, 2, {{"CROSSOVER_QUANT_CACHE", "folder"}});
  EXPECT_NE(test::message_of([&] { Engine engine(options); }).find("no folder was given"), std::string::npos);
  std::vector<float> expected, logits;
  options.cache_folder = folder / "missing";
  const CacheOutcome outcome = cached_load(options, logits);
  EXPECT_EQ(outcome.state, "not kept");
  EXPECT_NE(outcome.sentence.find("missing"), std::string::npos) << outcome.sentence;
  options.knobs.set("CROSSOVER_QUANT_CACHE", "off", "test");
  EXPECT_EQ(cached_load(options, expected).state, "off");
  EXPECT_EQ(logits, expected);
  options.knobs.set("CROSSOVER_QUANT_CACHE", "folder", "test");
  options.cache_folder = folder.path();
  options.weights = std::nullopt;
  EXPECT_EQ(cached_load(options, logits).state, "off");
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

TEST(LoadCache, ReadsTheBytesOfItsTypeOnly) {
  const TempFolder folder;
  EngineOptions options = options_of(dense(false), 1, 2, {{"CROSSOVER_QUANT_CACHE", "folder"}});
  options.cache_folder = folder.path();
  const Engine first(options), second(options);
  const double ratio = static_cast<double>(second.load_report().details[0].bytes_read) / static_cast<double>(first.load_report().details[0].bytes_read);
  EXPECT_NEAR(ratio, 210.0 / 512, 0.03);  // Q6_K against bf16; the small tensors are f32 in one and bf16 in the other
}

}  // namespace
}  // namespace crossover
