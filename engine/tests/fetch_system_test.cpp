// What a fetcher does where the system refuses a call, or does half of it.
#include <sys/syscall.h>

#include <cerrno>
#include <thread>

#include "engine/load/fetch/fetch.h"
#include "engine/load/fetch/fetch_reader.h"
#include "engine/tests/checkpoint_files.h"
#include "engine/tests/refuse_calls.h"

namespace crossover::test {
namespace {

constexpr std::size_t kBytes = 3 << 20;

struct OneFile {
  OneFile() {
    content.resize(kBytes);
    std::mt19937_64 random(1);
    for (char& c : content) c = static_cast<char>(random());
    write_bytes(folder / "weights", content);
    source.files = {folder / "weights"};
    source.file_bytes = {kBytes};
    tensor.name = "output.weight";
  }
  std::vector<FetchItem> items(std::uint64_t bytes) const {
    std::vector<FetchItem> all;
    for (std::uint64_t at = 0; at < kBytes; at += bytes) all.push_back({&tensor, {{0, at, std::min(bytes, kBytes - at)}}});
    return all;
  }

  TempFolder folder;
  std::string content;
  Source source;
  SourceTensor tensor{};
};

// Fetches all of the file in a thread where the call is refused. Returns the error, or "wrong bytes", or nothing.
std::string fetch_refused(const OneFile& file, FetchOptions options, unsigned call, unsigned error, int third, bool& refused) {
  std::string message;
  std::thread([&] {
    refused = refuse_here(call, error, third);
    if (refused) try {
        const SourceFiles files(file.source, options.mode);
        const std::vector<FetchItem> items = file.items(700000);
        Fetcher fetcher(files, items, options);
        for (std::size_t i = 0; i < items.size(); ++i) {
          const Extent& extent = items[i].extents[0];
          if (std::memcmp(fetcher.acquire(i, nullptr)[0], file.content.data() + extent.offset, extent.bytes) != 0) message = "wrong bytes";
          fetcher.release(i);
        }
      } catch (const std::exception& failed) {
        message = failed.what();
      }
  }).join();
  return message;
}

TEST(FetchUring, IsRefusedByNameWhereThereIsNoRing) {
  const OneFile file;
  for (const bool ahead : {false, true})
    for (const unsigned error : {EPERM, ENOSYS}) {
      bool refused = false;
      const std::string message = fetch_refused(file, {ReadMode::kUring, ahead, 1 << 20, 2}, SYS_io_uring_setup, error, -1, refused);
      if (!refused) GTEST_SKIP() << "this system does not let a thread refuse itself calls";
      if (message.find("past the page cache") != std::string::npos) GTEST_SKIP() << message;
      EXPECT_NE(message.find("io_uring cannot be used here"), std::string::npos) << message;
      EXPECT_NE(message.find("pread"), std::string::npos) << message;
    }
}

TEST(FetchUring, FailsByNameWhenTheRingBreaks) {
  const OneFile file;
  for (const bool ahead : {false, true}) {
    bool refused = false;
    const std::string message = fetch_refused(file, {ReadMode::kUring, ahead, 1 << 20, 2}, SYS_io_uring_enter, EPERM, -1, refused);
    if (!refused) GTEST_SKIP() << "this system does not let a thread refuse itself calls";
    if (message.find("past the page cache") != std::string::npos || message.find("cannot be used here") != std::string::npos)
      GTEST_SKIP() << message;
    EXPECT_NE(message.find("io_uring failed: Operation not permitted"), std::string::npos) << message;
  }
}

// As kernels before 5.14 do.
TEST(FetchMap, TouchesPagesWhereTheyCannotBePopulated) {
  const OneFile file;
  for (const bool ahead : {false, true}) {
    bool refused = false;
    EXPECT_EQ(fetch_refused(file, {ReadMode::kMap, ahead, 1 << 20, 2}, SYS_madvise, EINVAL, 22, refused), "");
    if (!refused) GTEST_SKIP() << "this system does not let a thread refuse itself calls";
  }
}

TEST(FetchMap, NamesThePagesThatCannotBeMappedIn) {
  const OneFile file;
  bool refused = false;
  const std::string message = fetch_refused(file, {ReadMode::kMap, true, 1 << 20, 2}, SYS_madvise, EHWPOISON, 22, refused);
  if (!refused) GTEST_SKIP() << "this system does not let a thread refuse itself calls";
  EXPECT_NE(message.find("cannot read tensor output.weight"), std::string::npos) << message;
  EXPECT_NE(message.find("at byte 0 of"), std::string::npos) << message;
  EXPECT_NE(message.find("its pages cannot be mapped in"), std::string::npos) << message;
}

TEST(RequestReaders, ResumeAShortReadAtAnAlignedByte) {
  const OneFile file;
  for (const ReadMode mode : {ReadMode::kRead, ReadMode::kDirect}) {
    const SourceFiles files(file.source, mode);
    std::unique_ptr<RequestReader> reader;
    try {
      reader = std::make_unique<RequestReader>(files, mode);
    } catch (const std::runtime_error& error) {
      GTEST_SKIP() << error.what();
    }
    const std::uint64_t unit = reader->rules().alignment;
    const ReadRequest request{0, 4 * unit, 16 * unit, 15 * unit + 1, 0};
    PendingRead read{&request, nullptr};
    EXPECT_FALSE(reader->arrived(read, -EINTR));
    EXPECT_FALSE(reader->arrived(read, -EAGAIN));
    EXPECT_EQ(read.done, 0u);
    EXPECT_FALSE(reader->arrived(read, static_cast<std::int64_t>(3 * unit + unit / 2)));
    EXPECT_EQ(read.done, 3 * unit);
    EXPECT_FALSE(reader->arrived(read, static_cast<std::int64_t>(12 * unit)));
    EXPECT_EQ(read.done, 15 * unit);
    PendingRead ended = read;
    EXPECT_TRUE(reader->arrived(read, 1));  // all that is needed, though not all that was asked for
    try {
      reader->arrived(ended, 0);
      ADD_FAILURE() << "the file went on";
    } catch (const ReadFailure& failure) {
      EXPECT_EQ(failure.offset, 19 * unit);
    }
    PendingRead broken{&request, nullptr, unit};
    try {
      reader->arrived(broken, -EIO);
      ADD_FAILURE() << "an error counts as read";
    } catch (const ReadFailure& failure) {
      EXPECT_EQ(failure.offset, 5 * unit);
      EXPECT_STREQ(failure.what(), "Input/output error");
    }
  }
}

}  // namespace
}  // namespace crossover::test
