// Writing a quantized cache file: whatever happens on the way, what is left is a good file or none, and the load goes on.
#include "engine/load/cache/cache_writer.h"

#include <sys/resource.h>
#include <sys/wait.h>

#include <chrono>
#include <csignal>
#include <random>

#include "engine/tests/quantized_cache_files.h"

namespace crossover::test {
namespace {

using CacheWriting = QuantizedCache;

TEST_F(CacheWriting, SourceThatChangesDuringTheLoadIsNotKept) {
  make_model();
  CacheWriter writer(source_, find());
  put_all(writer, source_, DType::kQ6_K, 1);
  fs::last_write_time(source_.files[0], fs::file_time_type::clock::now() - std::chrono::hours(5));
  EXPECT_FALSE(writer.finish(pool_));
  EXPECT_NE(writer.trouble().find("changed while it was loaded"), std::string::npos) << writer.trouble();
  EXPECT_TRUE(in_cache().empty());
}

TEST_F(CacheWriting, MissingBlocksAreNamedAndKeepTheFileBack) {
  make_model();
  const CacheLookup none = find();
  {
    CacheWriter writer(source_, none);
    const SourceFiles files(source_, ReadMode::kRead);
    put_block(writer, files, source_, 1, DType::kF32, 0, 1, {});
    EXPECT_THROW(put_block(writer, files, source_, 1, DType::kF32, 0, 1, {}), std::invalid_argument);
    EXPECT_THROW(writer.put(0, 0, 100000, {}, nullptr), std::invalid_argument);
    const IndexRange beyond{256, 256};
    EXPECT_THROW(writer.put(0, 0, 1, {&beyond, 1}, nullptr), std::invalid_argument);
    EXPECT_FALSE(writer.finish(pool_));
    EXPECT_NE(writer.trouble().find("bytes of tensor token_embd.weight were not put"), std::string::npos) << writer.trouble();
  }
  EXPECT_TRUE(in_cache().empty());
}

// Runs `body` in a child process; the status that it ends with.
pid_t start_child(const std::function<int()>& body) {
  const pid_t child = fork();
  if (child == 0) _exit(body());
  return child;
}
int wait_for(pid_t child) {
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

// A load in a process of its own, without threads that a fork would lose. 0 when it wrote the file, 1 when another does.
int load_in_child(const fs::path& model, const fs::path& cache, const std::function<void()>& before_finish = {}) {
  ThreadPool pool(1);
  const Source source = open_checkpoint(model);
  const CacheLookup lookup = find_quantized(source, DType::kQ6_K, cache, pool);
  if (lookup.state == CacheState::kHit) return 2;
  CacheWriter writer(source, lookup);
  if (!writer.on()) return writer.trouble().find("another process") != std::string::npos ? 1 : 3;
  put_all(writer, source, DType::kQ6_K, 2);
  if (before_finish) before_finish();
  return writer.finish(pool) ? 0 : 4;
}

TEST_F(CacheWriting, TwoWritersAtOnceLeaveOneGoodFile) {
  make_model();
  int wrote = 0, stood_back = 0;
  for (int round = 0; round < 8; ++round) {
    for (const std::string& name : in_cache()) fs::remove(cache() / name);
    const auto body = [&] { return load_in_child(model(), cache()); };
    const pid_t a = start_child(body), b = start_child(body), c = start_child(body);
    for (pid_t child : {a, b, c}) {
      const int status = wait_for(child);
      ASSERT_TRUE(WIFEXITED(status));
      ASSERT_LE(WEXITSTATUS(status), 2);
      wrote += WEXITSTATUS(status) == 0;
      stood_back += WEXITSTATUS(status) == 1;
    }
    EXPECT_EQ(in_cache().size(), 1u);
    const CacheLookup hit = find();
    ASSERT_EQ(hit.state, CacheState::kHit) << hit.sentence;
    check_data(hit);
  }
  EXPECT_EQ(wrote, 8);
  EXPECT_GT(stood_back, 0);

  // While one holds the file, the second is told who has it; a killed one's leavings go.
  for (const std::string& name : in_cache()) fs::remove(cache() / name);
  CacheWriter first(source_, find());
  ASSERT_TRUE(first.on()) << first.trouble();
  EXPECT_EQ(WEXITSTATUS(wait_for(start_child([&] { return load_in_child(model(), cache()); }))), 1);
  CacheWriter second(source_, find());
  EXPECT_FALSE(second.on());
  EXPECT_NE(second.trouble().find("another process is writing"), std::string::npos) << second.trouble();
  put_all(second, source_, DType::kQ6_K, 1);
  EXPECT_FALSE(second.finish(pool_));
}

TEST_F(CacheWriting, AKillAtAnyMomentLeavesNoneOrAGoodOne) {
  make_model();
  std::mt19937 random(5);
  const auto start = std::chrono::steady_clock::now();
  ASSERT_EQ(WEXITSTATUS(wait_for(start_child([&] { return load_in_child(model(), cache()); }))), 0);
  const auto whole_us = std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - start).count();
  int killed = 0, good = 0, leavings = 0;
  for (int i = 0; i < 30; ++i) {
    for (const std::string& name : in_cache())
      if (name.ends_with(".gguf")) fs::remove(cache() / name);
    const pid_t child = start_child([&] { return load_in_child(model(), cache()); });
    std::this_thread::sleep_for(std::chrono::microseconds(std::uniform_int_distribution<long>(0, whole_us)(random)));
    kill(child, SIGKILL);
    killed += WIFSIGNALED(wait_for(child));
    for (const std::string& name : in_cache()) leavings += name.ends_with(".part");
    const CacheLookup found = find();
    ASSERT_TRUE(found.state == CacheState::kHit || found.state == CacheState::kNone) << found.sentence;
    if (found.state == CacheState::kNone) continue;
    ++good;
    check_data(found);
  }
  EXPECT_GT(killed, 10);
  EXPECT_GT(leavings, 0);
  // What a writer of another state of the model left goes with the next.
  write_bytes(cache() / "Other-q6_k-0123456789abcdef.gguf.part", "left");
  write_bytes(cache() / "somebody's.part", "not ours");
  for (const std::string& name : in_cache())
    if (name.ends_with(".gguf")) fs::remove(cache() / name);
  ASSERT_EQ(make(), "");
  const std::vector<std::string> left = in_cache();
  ASSERT_EQ(left.size(), 2u);
  EXPECT_TRUE(left[0].ends_with(".gguf"));
  EXPECT_EQ(left[1], "somebody's.part");
}

TEST_F(CacheWriting, WithoutAFolderTheLoadGoesOn) {
  make_model();
  for (const fs::path& bad : {fs::path("/proc"), source_.files[0] / "below", cache() / "absent"}) {
    const CacheLookup none = find_quantized(source_, DType::kQ6_K, bad, pool_);
    EXPECT_EQ(none.state, CacheState::kNone) << none.sentence;
    CacheWriter writer(source_, none);
    EXPECT_FALSE(writer.on());
    EXPECT_NE(writer.trouble().find("cannot create"), std::string::npos) << writer.trouble();
    EXPECT_NE(writer.trouble().find(bad.string()), std::string::npos) << writer.trouble();
    put_all(writer, source_, DType::kQ6_K, 2);
    EXPECT_FALSE(writer.finish(pool_));
  }
}

// A file-size limit stands for the full disk: what is reserved at the start, and what grows later.
TEST_F(CacheWriting, AFullDiskIsTold) {
  make_model();
  const int status = wait_for(start_child([&] {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{64 << 10, 64 << 10};
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0) return 10;
    const CacheLookup none = find();
    CacheWriter writer(source_, none);
    if (writer.on()) return 11;
    if (writer.trouble().find("cannot reserve") == std::string::npos) return 12;
    const SourceFiles files(source_, ReadMode::kRead);
    put_block(writer, files, source_, 1, DType::kF32, 0, 1, {});
    return writer.finish(pool_) ? 13 : 0;
  }));
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_TRUE(in_cache().empty());

  const int later = wait_for(start_child([&] {
    const CacheLookup none = find();
    CacheWriter writer(source_, none);
    if (!writer.on()) return 20;
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{64 << 10, 64 << 10};
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0) return 21;
    put_all(writer, source_, DType::kQ6_K, 2);
    if (writer.on() || writer.trouble().find("cannot write") == std::string::npos) return 22;
    return writer.finish(pool_) ? 23 : 0;
  }));
  ASSERT_TRUE(WIFEXITED(later));
  EXPECT_EQ(WEXITSTATUS(later), 0);
  EXPECT_TRUE(in_cache().empty());
}

TEST_F(CacheWriting, ClearedWhileItIsWrittenIsNotPublished) {
  make_model();
  CacheWriter writer(source_, find());
  put_all(writer, source_, DType::kQ6_K, 1);
  for (const std::string& name : in_cache()) fs::remove(cache() / name);
  EXPECT_FALSE(writer.finish(pool_));
  EXPECT_NE(writer.trouble().find("was removed while it was written"), std::string::npos) << writer.trouble();
  EXPECT_TRUE(in_cache().empty());
}

}  // namespace
}  // namespace crossover::test
