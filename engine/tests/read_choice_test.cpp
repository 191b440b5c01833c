// CROSSOVER_READ=auto: what it takes for files in the page cache, out of it, half in it, and where the system refuses.
#include "engine/load/read_choice.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>
#include <thread>

#include "engine/engine.h"
#include "engine/load/quantize_file.h"
#include "engine/tests/fetch_cases.h"
#include "engine/tests/refuse_calls.h"

namespace crossover::test {
namespace {

// Of bytes [0, bytes) of a file, page by page.
double share_in_memory(const fs::path& path, std::uint64_t bytes) {
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  void* at = mmap(nullptr, bytes, PROT_READ, MAP_SHARED, descriptor, 0);
  std::vector<unsigned char> pages((bytes + 4095) / 4096);
  const bool told = at != MAP_FAILED && mincore(at, bytes, pages.data()) == 0;
  if (at != MAP_FAILED) munmap(at, bytes);
  close(descriptor);
  if (!told) throw std::runtime_error("no residency of " + path.string());
  return static_cast<double>(std::count_if(pages.begin(), pages.end(), [](unsigned char page) { return page & 1; })) /
         static_cast<double>(pages.size());
}

// Takes bytes [0, bytes) out of the page cache. False where that cannot be had, as in file systems that are memory.
bool evict(const fs::path& path, std::uint64_t bytes) {
  const int descriptor = open(path.c_str(), O_RDWR | O_CLOEXEC);
  double left = 1;
  for (int attempt = 0; attempt < 5 && left > 0.01; ++attempt) {
    fsync(descriptor);
    posix_fadvise(descriptor, 0, static_cast<off_t>(bytes), POSIX_FADV_DONTNEED);
    left = share_in_memory(path, bytes);
  }
  close(descriptor);
  return left <= 0.01;
}

bool evict_all(const Source& source) {
  for (std::size_t i = 0; i < source.files.size(); ++i)
    if (!evict(source.files[i], source.file_bytes[i])) return false;
  return true;
}

#define EVICT_OR_SKIP(source) \
  if (!evict_all(source)) GTEST_SKIP() << "the page cache cannot be emptied of files in " << source.files[0].parent_path()

bool past_the_cache(ReadMode mode) { return mode == ReadMode::kDirect || mode == ReadMode::kUring; }

TEST(ReadChoice, WhatIsInThePageCacheIsMapped) {
  const RandomFiles files({3 * kMiB + 5, 0, 70000});
  EXPECT_EQ(resident_share(files.source), 1.0);
  const ReadChoice choice = choose_read(files.source, 1);
  EXPECT_EQ(choice.mode, ReadMode::kMap);
  EXPECT_NE(choice.reason.find("100 % of the files in the page cache"), std::string::npos) << choice.reason;
  EXPECT_FALSE(choice.fell_back);
}

TEST(ReadChoice, WhatIsNotInThePageCacheIsReadPastIt) {
  const RandomFiles files({5 * kMiB + 5, 70000});
  EVICT_OR_SKIP(files.source);
  EXPECT_LT(resident_share(files.source).value(), 0.02);
  EXPECT_LT(share_in_memory(files.source.files[0], 5 * kMiB), 0.02) << "asking brought pages in";
  const ReadChoice choice = choose_read(files.source, 1);
  if (choice.mode == ReadMode::kMap) {
    EXPECT_TRUE(choice.fell_back);
    EXPECT_NE(choice.reason.find("past the page cache"), std::string::npos) << choice.reason;
    GTEST_SKIP() << choice.reason;
  }
  EXPECT_EQ(choice.fell_back, choice.mode == ReadMode::kDirect);  // io_uring is tried first
  EXPECT_LT(resident_share(files.source).value(), 0.02);
  EXPECT_EQ(choose_read(files.source, 3).mode, ReadMode::kMap);  // the ranks would read everything three times
  const SourceFiles opened(files.source, choice.mode);
  const std::vector<FetchItem> items = files.in_pieces(700000);
  Fetcher fetcher(opened, items, {choice.mode, true, kMiB, 2});
  EXPECT_EQ(consume(fetcher, &files, items, 2), "");
}

TEST(ReadChoice, SharesAreOfAllFilesByBytes) {
  const RandomFiles files({6 * kMiB, 100, 2 * kMiB});
  EVICT_OR_SKIP(files.source);
  EXPECT_LT(resident_share(files.source).value(), 0.02);
  std::ifstream(files.source.files[2]).ignore(2 * kMiB);
  EXPECT_NEAR(resident_share(files.source).value(), 0.25, 0.02);
  std::ifstream(files.source.files[0]).ignore(6 * kMiB);
  ASSERT_TRUE(evict(files.source.files[0], 3 * kMiB));
  EXPECT_NEAR(resident_share(files.source).value(), 0.625, 0.02);
}

TEST(ReadChoice, AFileThatIsGoneIsNamed) {
  const RandomFiles files({4096});
  fs::remove(files.source.files[0]);
  EXPECT_NE(message_of([&] { choose_read(files.source, 1); }).find(files.source.files[0].string()), std::string::npos);
}

// In a thread where the system refuses a call.
ReadChoice choose_refused(const Source& source, unsigned call, unsigned error, int third, bool& refused) {
  ReadChoice choice;
  std::thread([&] {
    refused = refuse_here(call, error, third);
    if (refused) choice = choose_read(source, 1);
  }).join();
  return choice;
}

TEST(ReadChoice, FallsToTheNextWayAndSaysSo) {
  const RandomFiles files({5 * kMiB});
  EVICT_OR_SKIP(files.source);
  if (const ReadChoice usual = choose_read(files.source, 1); usual.mode != ReadMode::kUring) GTEST_SKIP() << usual.reason;
  bool refused = false;
  const ReadChoice direct = choose_refused(files.source, SYS_io_uring_setup, EPERM, -1, refused);
  if (!refused) GTEST_SKIP() << "this system does not let a thread refuse itself calls";
  EXPECT_EQ(direct.mode, ReadMode::kDirect);
  EXPECT_TRUE(direct.fell_back);
  EXPECT_NE(direct.reason.find("uring: io_uring cannot be used here"), std::string::npos) << direct.reason;
  const ReadChoice broken = choose_refused(files.source, SYS_io_uring_enter, EPERM, -1, refused);
  EXPECT_EQ(broken.mode, ReadMode::kDirect) << broken.reason;
  const ReadChoice mapped = choose_refused(files.source, SYS_openat, EINVAL, O_RDONLY | O_CLOEXEC | O_DIRECT, refused);
  EXPECT_EQ(mapped.mode, ReadMode::kMap);
  EXPECT_TRUE(mapped.fell_back);
  EXPECT_NE(mapped.reason.find("direct: cannot read " + files.source.files[0].string()), std::string::npos) << mapped.reason;
}

TEST(ReadChoice, RanksThatShareRowsReadThemAgain) {
  const TempFolder folder;
  SynthOptions synth;
  synth.preset = "tiny-dense";
  write_synth(synth, folder / "model");
  const Source source = open_checkpoint(folder / "model");
  double split_bytes = 0, file_bytes = 0, all_bytes = 0;  // of tensors that two ranks split by columns
  for (const std::uint64_t bytes : source.file_bytes) file_bytes += static_cast<double>(bytes);
  for (const SourceTensor& tensor : source.tensors) {
    const auto bytes = static_cast<double>(tensor.shape[0] * tensor.shape[1] * row_bytes(tensor.dtype, tensor.shape[2]));
    // The GDN layers of this model are too small for two ranks, and norms, which both hold, weigh next to nothing.
    const bool twice = tensor.name.ends_with("ffn_down.weight") || tensor.name.ends_with("attn_output.weight");
    if (!is_mtp(tensor, source.config)) all_bytes += bytes, split_bytes += twice ? bytes : 0;
  }
  EXPECT_NEAR(direct_passes(source, make_shard_plan(source, DType::kQ6_K, 1)), all_bytes / file_bytes, 1e-9);
  EXPECT_NEAR(direct_passes(source, make_shard_plan(source, DType::kQ6_K, 2)), (all_bytes + split_bytes) / file_bytes, 0.02);
}

TEST(ReadChoice, ALoadTakesItAndReportsIt) {
  const TempFolder folder;
  SynthOptions synth;
  synth.preset = "tiny-dense";
  write_synth(synth, folder / "model");
  const Source source = open_checkpoint(folder / "model");
  EngineOptions options;
  options.model = folder / "model";
  options.weights = DType::kQ6_K;
  options.ranks = options.threads = 2;
  options.capacity_tokens = 32;
  const std::vector<std::int32_t> prompt{3, 1, 4, 1, 5};
  const auto load = [&](ReadMode expected, const char* asked) {
    options.knobs.set("CROSSOVER_READ", asked, "test");
    Engine engine(options);
    EXPECT_EQ(engine.load_report().read.mode, expected) << engine.load_report().read.reason;
    EXPECT_EQ(engine.counters().paths.at("read"), name(expected));
    EXPECT_EQ(engine.load_report().read.reason.empty(), asked != std::string("auto"));
    const std::span<const float> logits = engine.feed(prompt);
    return std::vector<float>(logits.begin(), logits.end());
  };
  const std::vector<float> mapped = load(ReadMode::kMap, "auto");
  EXPECT_EQ(load(ReadMode::kRead, "pread"), mapped);
  EXPECT_EQ(quantize_checkpoint(options.model, folder / "x.gguf", {DType::kQ6_K, 2, {}, {}}).counters.paths.at("read"), "mmap");
  EVICT_OR_SKIP(source);
  const ReadMode expected = choose_read(source, 1).mode;
  EXPECT_EQ(load(expected, "auto"), mapped);
  EVICT_OR_SKIP(source);
  fs::remove(folder / "x.gguf");
  const QuantizeReport quantized = quantize_checkpoint(options.model, folder / "x.gguf", {DType::kQ6_K, 2, {}, {}});
  EXPECT_EQ(quantized.counters.paths.at("read"), name(expected)) << quantized.read.reason;
  if (!past_the_cache(expected)) GTEST_SKIP() << quantized.read.reason;
  EXPECT_LT(resident_share(source).value(), 0.5) << "direct reads are not to fill the page cache";
}

}  // namespace
}  // namespace crossover::test
