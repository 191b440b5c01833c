#include "bench/page_cache_check.h"

#include <gtest/gtest.h>
#include <unistd.h>

namespace crossover {
namespace {

namespace fs = std::filesystem;

TEST(PageCacheCheck, LeavesNothingBehind) {
  const fs::path folder = fs::temp_directory_path() / ("crossover-page-cache-" + std::to_string(getpid()));
  const std::string trouble = page_cache_trouble(folder);  // whatever the answer is on this machine
  EXPECT_EQ(trouble.find('\n'), std::string::npos);
  EXPECT_TRUE(fs::is_empty(folder));
  fs::remove_all(folder);
}

TEST(PageCacheCheck, KnowsMemoryFileSystems) {
  if (!fs::exists("/dev/shm") || access("/dev/shm", W_OK) != 0) GTEST_SKIP() << "no /dev/shm that can be written";
  EXPECT_NE(page_cache_trouble("/dev/shm").find("tmpfs"), std::string::npos);
}

TEST(PageCacheCheck, SaysWhyAFolderCannotBeUsed) { EXPECT_NE(page_cache_trouble("/proc/nowhere/below"), ""); }

}  // namespace
}  // namespace crossover
