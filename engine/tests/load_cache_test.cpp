// Loads that keep what they quantized, and loads that read it.
#include <gtest/gtest.h>

#include "engine/load/quantize_file.h"
#include "engine/tests/loaded_models.h"

namespace crossover {
namespace {

namespace fs = std::filesystem;
using test::dense, test::logits_of, test::moe, test::options_of, test::read_bytes, test::Settings, test::TempFolder;

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
