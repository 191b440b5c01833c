#include "bench/page_cache.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <string>

namespace crossover {
namespace {
namespace fs = std::filesystem;

class PageCache : public testing::Test {
 protected:
  void SetUp() override {
    path_ = fs::current_path() / ("page-cache-test-" + std::to_string(getpid()));
    std::ofstream(path_, std::ios::binary) << std::string(8 << 20, 'x');
    try {
      residency({path_});
    } catch (const std::runtime_error& error) {
      GTEST_SKIP() << error.what();
    }
  }
  void TearDown() override { fs::remove(path_); }
  fs::path path_;
};

TEST_F(PageCache, ColdThenWarmThenColdAgain) {
  EXPECT_LE(make_cold({path_}).fraction(), kColdFraction);
  EXPECT_EQ(residency({path_}).bytes_total, 8 << 20);
  EXPECT_GE(make_warm({path_}).fraction(), kWarmFraction);
  EXPECT_GE(residency({path_}).fraction(), kWarmFraction);
  EXPECT_LE(make_cold({path_}).fraction(), kColdFraction);
}

TEST_F(PageCache, EvictsPagesThatWereJustWritten) {
  std::ofstream(path_, std::ios::binary) << std::string(4 << 20, 'y');
  EXPECT_LE(make_cold({path_}).fraction(), kColdFraction);
  std::string back(4 << 20, '\0');
  std::ifstream(path_, std::ios::binary).read(back.data(), static_cast<std::streamsize>(back.size()));
  EXPECT_EQ(back, std::string(4 << 20, 'y'));
}

TEST_F(PageCache, MeasuresTheUncachedRate) { EXPECT_GT(uncached_read_bytes_per_s(path_), 1e6); }

TEST_F(PageCache, MeasuresReadsColdAndWarm) {
  for (const int threads : {1, 2, 7}) {
    const ReadRates rates = measure_reads(path_, threads);
    ASSERT_TRUE(rates.cold_bytes_per_s && rates.warm_bytes_per_s) << threads;
    EXPECT_GT(*rates.cold_bytes_per_s, 1e6);
    EXPECT_LT(*rates.warm_bytes_per_s, 1e13);
  }
  EXPECT_GE(residency({path_}).fraction(), kWarmFraction);  // it read all of so small a file
  std::ofstream(path_, std::ios::trunc).close();
  EXPECT_FALSE(measure_reads(path_, 2).warm_bytes_per_s);
}

TEST_F(PageCache, EmptyFilesAreBothColdAndWarm) {
  std::ofstream(path_, std::ios::trunc).close();
  EXPECT_EQ(make_cold({path_}).bytes_total, 0);
  EXPECT_EQ(make_warm({path_}).bytes_total, 0);
}

TEST(PageCacheRefusal, NamesTheFileThatIsMissing) {
  try {
    residency({"/no/such/file"});
    FAIL();
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find("/no/such/file"), std::string::npos);
  }
}

TEST(PageCacheRefusal, MemoryFileSystemsCannotBeControlled) {
  const fs::path path = fs::path("/dev/shm") / ("page-cache-test-" + std::to_string(getpid()));
  std::ofstream(path) << "x";
  if (!fs::exists(path)) GTEST_SKIP() << "/dev/shm cannot be written here";
  std::string message;
  try {
    residency({path});
  } catch (const std::runtime_error& error) {
    message = error.what();
  }
  fs::remove(path);
  if (message.empty()) GTEST_SKIP() << "/dev/shm is a disk file system here";
  EXPECT_NE(message.find("tmpfs"), std::string::npos) << message;
}

}  // namespace
}  // namespace crossover
