// Every way of fetching brings the bytes of the files, within its buffer, or says by name why it cannot.
#include "engine/load/fetch/fetch.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <chrono>
#include <limits>
#include <thread>

#include "engine/load/fetch/fetch_plan.h"
#include "engine/tests/fetch_cases.h"

namespace crossover::test {
namespace {

bool has_span(const Trace& trace, const std::string& name) {
  return std::any_of(trace.spans().begin(), trace.spans().end(), [&](const Span& span) { return span.name == name; });
}

class FetchByDescriptor : public Fetch {};  // through a file descriptor
class FetchDirectly : public Fetch {};       // through descriptors of the fetcher's own

INSTANTIATE_TEST_SUITE_P(All, Fetch, from_mode(0), title);
INSTANTIATE_TEST_SUITE_P(All, FetchByDescriptor, from_mode(1), title);
INSTANTIATE_TEST_SUITE_P(All, FetchDirectly, from_mode(2), title);

TEST_P(Fetch, BringsTheBytesOfTheFilesWithinItsBuffer) {
  const RandomFiles random_files({3 * kMiB + 17, 1, 0, 700 * kKiB, 4096});
  const SourceFiles files(random_files.source, mode());
  std::mt19937_64 random(7);
  for (const std::int64_t buffer : {std::int64_t{1}, 64 * kKiB, kMiB, 64 * kMiB})
    for (const int readers : {1, 8})
      for (const std::size_t workers : {1, 2, 13}) {
        const std::vector<FetchItem> items = random_items(random_files, 60, 400 * kKiB, random);
        FETCHER_OR_SKIP(fetcher, files, items, options(buffer, readers));
        ASSERT_EQ(consume(*fetcher, &random_files, items, workers), "");
        EXPECT_LE(fetcher->peak_buffer_bytes(), std::max(buffer, largest_need(items)));
        EXPECT_GT(fetcher->bytes_read(), 0);
      }
}

TEST_P(Fetch, CutsALargeItemIntoRequestsAndReadsTheLastByte) {
  const RandomFiles random_files({5 * kMiB + 4097});
  const SourceFiles files(random_files.source, mode());
  const std::vector<FetchItem> items{{&random_files.tensor, {{0, 3, 5 * kMiB + 4094}}}};
  FETCHER_OR_SKIP(fetcher, files, items, options(kMiB, 4));
  ASSERT_EQ(consume(*fetcher, &random_files, items, 1), "");
  EXPECT_GE(fetcher->bytes_read(), 5 * kMiB + 4094);
  EXPECT_EQ(fetcher->peak_buffer_bytes(), largest_need(items));
}

TEST_P(Fetch, FetchesNothing) {
  const RandomFiles random_files({100, 0});
  const SourceFiles files(random_files.source, mode());
  FETCHER_OR_SKIP(empty, files, std::vector<FetchItem>{}, options(kMiB));
  EXPECT_EQ(empty->bytes_read(), 0);
  const std::vector<FetchItem> items{{&random_files.tensor, {}}, {&random_files.tensor, {{0, 100, 0}, {1, 0, 0}}}};
  FETCHER_OR_SKIP(fetcher, files, items, options(1));
  EXPECT_EQ(consume(*fetcher, &random_files, items, 2), "");
  EXPECT_EQ(fetcher->bytes_read(), 0);
  EXPECT_EQ(fetcher->peak_buffer_bytes(), 0);
}

TEST_P(Fetch, NamesItsTime) {
  const RandomFiles random_files({kMiB});
  const SourceFiles files(random_files.source, mode());
  const std::vector<FetchItem> items = random_files.in_pieces(64 * kKiB);
  FETCHER_OR_SKIP(fetcher, files, items, options(64 * kKiB, 1));
  std::vector<Trace> workers;
  ASSERT_EQ(consume(*fetcher, &random_files, items, 1, &workers), "");
  const std::vector<const Trace*> readers = fetcher->reader_traces();
  if (!options(1).ahead) {
    EXPECT_TRUE(has_span(workers[0], "read"));
    EXPECT_TRUE(readers.empty());
    return;
  }
  EXPECT_FALSE(has_span(workers[0], "read"));
  ASSERT_EQ(readers.size(), 1u);
  EXPECT_TRUE(has_span(*readers[0], "read"));
  for (const Span& span : readers[0]->spans()) EXPECT_GE(span.end_s, span.start_s);
}

TEST_P(Fetch, StopsWhenAbandoned) {
  const RandomFiles random_files({2 * kMiB});
  const SourceFiles files(random_files.source, mode());
  const std::vector<FetchItem> items = random_files.in_pieces(64 * kKiB);
  for (const std::int64_t buffer : {64 * kKiB, 256 * kKiB, 64 * kMiB})
    for (const std::size_t taken : {0, 1, 3}) {
      FETCHER_OR_SKIP(fetcher, files, items, options(buffer));
      for (std::size_t i = 0; i < taken; ++i) {
        fetcher->acquire(i, nullptr);
        if (i + 1 < taken) fetcher->release(i);
      }
    }
}

TEST_P(Fetch, WakesWhoWaitsWhenAnotherFails) {
  const RandomFiles random_files({2 * kMiB});
  const SourceFiles files(random_files.source, mode());
  const std::vector<FetchItem> items = random_files.in_pieces(512 * kKiB);
  FETCHER_OR_SKIP(fetcher, files, items, options(512 * kKiB));
  fetcher->acquire(0, nullptr);
  std::thread failing([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    fetcher->cancel(std::make_exception_ptr(std::runtime_error("the quantizer found a NaN")));
  });
  try {
    fetcher->acquire(1, nullptr);  // no room until item 0 is released
    ADD_FAILURE() << "there was room for two";
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "the quantizer found a NaN");
  }
  failing.join();
}

TEST_P(Fetch, RefusesMisuse) {
  const RandomFiles random_files({kMiB});
  const SourceFiles files(random_files.source, mode());
  const std::vector<FetchItem> items = random_files.in_pieces(512 * kKiB);
  FETCHER_OR_SKIP(fetcher, files, items, options(kMiB));
  EXPECT_THROW(fetcher->acquire(2, nullptr), std::invalid_argument);
  EXPECT_THROW(fetcher->release(0), std::invalid_argument);
  fetcher->acquire(0, nullptr);
  EXPECT_THROW(fetcher->acquire(0, nullptr), std::invalid_argument);
  fetcher->release(0);
  EXPECT_THROW(fetcher->release(0), std::invalid_argument);
  constexpr std::uint64_t kHuge = std::numeric_limits<std::uint64_t>::max();
  for (const Extent& wrong : {Extent{1, 0, 1}, Extent{-1, 0, 1}, Extent{0, kMiB, 1}, Extent{0, 1, kHuge}})
    EXPECT_THROW(Fetcher(files, {{&random_files.tensor, {wrong}}}, options(kMiB)), std::invalid_argument);
  EXPECT_THROW(Fetcher(files, items, options(0)), std::invalid_argument);
  EXPECT_THROW(Fetcher(files, items, options(kMiB, 0)), std::invalid_argument);
}

// Items before the damage arrive; the first damaged one and all later ones fail by name.
void expect_failure_from(Fetcher& fetcher, std::size_t first_damaged, std::size_t count, const std::string& why) {
  for (std::size_t i = 0; i < count; ++i) {
    std::string message;
    try {
      fetcher.acquire(i, nullptr);
      fetcher.release(i);
    } catch (const std::runtime_error& error) {
      message = error.what();
    }
    if (i < first_damaged) {
      EXPECT_EQ(message, "") << "item " << i;
      continue;
    }
    EXPECT_NE(message.find("blk.7.ffn_up.weight (model.layers.7.up) at byte "), std::string::npos) << i << ": " << message;
    EXPECT_NE(message.find("file1"), std::string::npos) << message;
    EXPECT_NE(message.find(why), std::string::npos) << message;
  }
}

TEST_P(Fetch, NamesTheByteWhereAFileWasCutOff) {
  const RandomFiles random_files({2 * kMiB});
  const std::vector<FetchItem> items = random_files.in_pieces(256 * kKiB);
  for (const std::uint64_t left : {std::uint64_t{0}, std::uint64_t{kMiB}, std::uint64_t{kMiB + 5000}}) {
    write_bytes(random_files.source.files[0], std::string(2 * kMiB, 'x'));
    const SourceFiles files(random_files.source, mode());
    FETCHER_OR_SKIP(fetcher, files, items, options(1));  // the reader cannot be beyond the first item
    fs::resize_file(random_files.source.files[0], left);
    const std::size_t damaged = left / (256 * kKiB);
    std::vector<std::string> messages;
    if (left == 0) {  // the first item may be there already
      for (std::size_t i = 0; i < items.size(); ++i) try {
          fetcher->acquire(i, nullptr);
          fetcher->release(i);
          messages.push_back("");
        } catch (const std::runtime_error& error) {
          messages.push_back(error.what());
        }
      for (std::size_t i = 1; i < items.size(); ++i) EXPECT_NE(messages[i].find("blk.7.ffn_up.weight"), std::string::npos) << messages[i];
      continue;
    }
    expect_failure_from(*fetcher, damaged, items.size(), "the file ends there");
  }
}

TEST_P(Fetch, ReadsSmallItemsTogether) {
  const RandomFiles random_files({2 * kMiB});
  const SourceFiles files(random_files.source, mode());
  const std::vector<FetchItem> items = random_files.in_pieces(1000);
  FETCHER_OR_SKIP(fetcher, files, items, options(64 * kMiB));
  ASSERT_EQ(consume(*fetcher, &random_files, items, 3), "");
  if (!options(1).ahead) return;
  std::size_t reads = 0;
  for (const Trace* trace : fetcher->reader_traces()) reads += trace->spans().size();
  EXPECT_LE(reads, 40u);  // not one for each of the 2098 items
  EXPECT_LE(fetcher->bytes_read(), 3 * kMiB);
}

TEST_P(Fetch, NamesTheTensorAmongThoseReadTogether) {
  const RandomFiles random_files({10000});
  std::array<SourceTensor, 3> tensors{};
  std::vector<FetchItem> items;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    tensors[i].name = "blk." + std::to_string(i) + ".attn_norm.weight";
    items.push_back({&tensors[i], {{0, 5000 - 2000 * i, 2000}}});  // the first one lies last
  }
  const SourceFiles files(random_files.source, mode());
  fs::resize_file(random_files.source.files[0], 4500);
  FETCHER_OR_SKIP(fetcher, files, items, options(64 * kMiB));
  try {
    fetcher->acquire(1, nullptr);
    ADD_FAILURE() << "was read from beyond the end";
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find("cannot read tensor blk.1.attn_norm.weight"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("at byte 4500 of"), std::string::npos) << error.what();
  }
}

// Every descriptor of this process that has the file open now leads to a folder instead, which cannot be read.
void break_descriptors(const fs::path& path) {
  struct stat wanted {};
  ASSERT_EQ(stat(path.c_str(), &wanted), 0);
  const int folder = open(path.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  ASSERT_GE(folder, 0);
  int broken = 0;
  for (int descriptor = 0; descriptor < 1024; ++descriptor) {
    struct stat found {};
    if (fstat(descriptor, &found) != 0 || found.st_ino != wanted.st_ino || found.st_dev != wanted.st_dev) continue;
    ASSERT_EQ(dup2(folder, descriptor), descriptor);
    ++broken;
  }
  close(folder);
  ASSERT_GT(broken, 0);
}

TEST_P(FetchByDescriptor, NamesAReadErrorInTheMiddle) {
  const RandomFiles random_files({2 * kMiB});
  const std::vector<FetchItem> items = random_files.in_pieces(256 * kKiB);
  for (const int readers : {1, 8}) {
    const SourceFiles files(random_files.source, mode());
    FETCHER_OR_SKIP(fetcher, files, items, options(256 * kKiB, readers));
    for (std::size_t i = 0; i < 3; ++i) {
      fetcher->acquire(i, nullptr);
      if (i < 2) fetcher->release(i);
    }
    break_descriptors(random_files.source.files[0]);
    fetcher->release(2);
    for (std::size_t i = 3; i < items.size(); ++i) try {
        fetcher->acquire(i, nullptr);
        ADD_FAILURE() << "item " << i << " was read from a folder";
      } catch (const std::runtime_error& error) {
        const std::string message = error.what();
        EXPECT_NE(message.find("blk.7.ffn_up.weight (model.layers.7.up) at byte 786432 of"), std::string::npos) << message;
        EXPECT_NE(message.find("Is a directory"), std::string::npos) << message;
      }
  }
}

TEST_P(FetchDirectly, RefusesAFileThatWasReplacedMeanwhile) {
  const RandomFiles random_files({4096});
  const SourceFiles files(random_files.source, mode());
  const std::vector<FetchItem> items = random_files.in_pieces(4096);
  { FETCHER_OR_SKIP(fetcher, files, items, options(kMiB)); }
  fs::rename(random_files.source.files[0], random_files.folder / "old");
  write_bytes(random_files.source.files[0], std::string(4096, 'x'));
  try {
    const Fetcher fetcher(files, items, options(kMiB));
    ADD_FAILURE() << "read another file than the one that was opened";
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find("was replaced while it was opened"), std::string::npos) << error.what();
  }
}

// A holder may wait for whoever has an earlier item, as a loader does that finishes in order.
TEST(FetchAhead, AHolderMayWaitForEarlierItems) {
  const RandomFiles random_files({2 * kMiB});
  const SourceFiles files(random_files.source, ReadMode::kRead);
  const std::vector<FetchItem> items = random_files.in_pieces(128 * kKiB);
  Fetcher fetcher(files, items, {ReadMode::kRead, true, 256 * kKiB, 2});
  std::atomic<std::size_t> released{0};
  const auto work = [&](std::size_t first) {
    for (std::size_t i = first; i < items.size(); i += 2) {
      fetcher.acquire(i, nullptr);
      while (released.load() < i) std::this_thread::yield();
      fetcher.release(i);
      released.store(i + 1);
    }
  };
  std::thread odd(work, 1);
  work(0);
  odd.join();
  EXPECT_EQ(released.load(), items.size());
}

// As items of a file do that is checked in pieces: what neighbours share is read once.
TEST(FetchAhead, NeighboursThatWantTheSameBytesShareThem) {
  const RandomFiles random_files({4 * kMiB + 100});
  const SourceFiles files(random_files.source, ReadMode::kRead);
  std::vector<FetchItem> items;
  for (std::uint64_t piece = 0; piece < 4; ++piece)
    for (int i = 0; i < 50; ++i) items.push_back({&random_files.tensor, {{0, 100 + piece * kMiB, static_cast<std::uint64_t>(i < 49 || piece == 3 ? kMiB : 2 * kMiB)}}});
  for (const std::int64_t buffer_bytes : {64 * kMiB, kMiB, std::int64_t{1}}) {
    Fetcher fetcher(files, items, {ReadMode::kRead, true, buffer_bytes, 2});
    ASSERT_EQ(consume(fetcher, &random_files, items, 3), "");
    EXPECT_LE(fetcher.bytes_read(), 8 * kMiB);
    EXPECT_LE(fetcher.peak_buffer_bytes(), std::max(buffer_bytes, 3 * kMiB));
  }
}

TEST(FetchMap, LeavesNoPagesBehind) {
  const RandomFiles random_files({32 * kMiB});
  const SourceFiles files(random_files.source, ReadMode::kMap);
  const std::vector<FetchItem> items = random_files.in_pieces(kMiB);
  const auto file_pages_bytes = [] {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);)
      if (line.starts_with("RssFile:") || line.starts_with("RssShmem:")) return std::stoll(line.substr(line.find(':') + 1)) * kKiB;
    return 0LL;
  };
  const long long before = file_pages_bytes();
  Fetcher fetcher(files, items, {ReadMode::kMap, true, 4 * kMiB, 2});
  ASSERT_EQ(consume(fetcher, &random_files, items, 2), "");
  EXPECT_LT(file_pages_bytes() - before, 8 * kMiB);
}

TEST(FetchMap, NeedsMappedFiles) {
  const RandomFiles random_files({4096});
  const SourceFiles files(random_files.source, ReadMode::kRead);
  EXPECT_THROW(Fetcher(files, random_files.in_pieces(4096), {ReadMode::kMap, true, kMiB, 1}), std::invalid_argument);
}

TEST(FetchDirect, IsRefusedInMemoryFileSystems) {
  struct statfs system {};
  if (statfs("/dev/shm", &system) != 0 || system.f_type != 0x01021994) GTEST_SKIP() << "/dev/shm is no tmpfs here";
  const RandomFiles random_files({4096});
  const fs::path path = "/dev/shm/crossover-fetch-" + std::to_string(getpid());
  fs::copy_file(random_files.source.files[0], path);
  Source source = random_files.source;
  source.files[0] = path;
  const SourceFiles files(source, ReadMode::kDirect);
  for (const ReadMode mode : {ReadMode::kDirect, ReadMode::kUring}) try {
      const Fetcher fetcher(files, random_files.in_pieces(4096), {mode, true, kMiB, 1});
      ADD_FAILURE() << "read past a page cache that is the file itself";
    } catch (const std::runtime_error& error) {
      EXPECT_NE(std::string(error.what()).find(path.string()), std::string::npos) << error.what();
      EXPECT_NE(std::string(error.what()).find("tmpfs"), std::string::npos) << error.what();
      EXPECT_NE(std::string(error.what()).find("pread"), std::string::npos) << error.what();
    }
  fs::remove(path);
}

}  // namespace
}  // namespace crossover::test
