#include "bench/page_cache_check.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "engine/tests/temp_folder.h"

namespace crossover {
namespace {

namespace fs = std::filesystem;

TEST(PageCacheCheck, LeavesNothingBehind) {
  const test::TempFolder owner;
  const fs::path folder = owner / "made";
  const std::string trouble = check_page_cache(folder).trouble;  // whatever the answer is on this machine
  EXPECT_EQ(trouble.find('\n'), std::string::npos);
  EXPECT_TRUE(fs::is_empty(folder));
}

TEST(PageCacheCheck, KnowsMemoryFileSystems) {
  if (!fs::exists("/dev/shm") || access("/dev/shm", W_OK) != 0) GTEST_SKIP() << "no /dev/shm that can be written";
  EXPECT_NE(check_page_cache("/dev/shm").trouble.find("tmpfs"), std::string::npos);
}

TEST(PageCacheCheck, SaysWhyAFolderCannotBeUsed) { EXPECT_NE(check_page_cache("/proc/nowhere/below").trouble, ""); }

}  // namespace
}  // namespace crossover
