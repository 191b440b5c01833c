#include "bench/cache_folder.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <optional>
#include <stdexcept>

namespace crossover {
namespace {

namespace fs = std::filesystem;

// Sets a variable (or takes it away) for the life of the object.
class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) {
    if (const char* now = std::getenv(name)) before_ = now;
    value ? setenv(name, value, 1) : unsetenv(name);
  }
  ~Variable() { before_ ? setenv(name_, before_->c_str(), 1) : unsetenv(name_); }

 private:
  const char* name_;
  std::optional<std::string> before_;
};

class CacheFolder : public testing::Test {
 protected:
  fs::path folder_ = fs::temp_directory_path() / ("crossover-cache-" + std::to_string(getpid()));

  void TearDown() override { fs::remove_all(folder_); }
  void write(const fs::path& path, const std::string& text) {
    fs::create_directories((folder_ / path).parent_path());
    std::ofstream(folder_ / path) << text;
  }
};

TEST_F(CacheFolder, FollowsKnobThenXdgThenHome) {
  const Variable home("HOME", "/home/x");
  {
    const Variable xdg("XDG_CACHE_HOME", "/xdg");
    EXPECT_EQ(cache_folder("/set"), "/set");
    EXPECT_EQ(cache_folder(""), "/xdg/crossover");
  }
  {
    const Variable relative("XDG_CACHE_HOME", "relative");
    EXPECT_EQ(cache_folder(""), "/home/x/.cache/crossover");
  }
  const Variable xdg("XDG_CACHE_HOME", nullptr), homeless("HOME", nullptr);
  EXPECT_THROW(cache_folder(""), std::runtime_error);
}

TEST_F(CacheFolder, CountsBytesAndClearsItsOwn) {
  EXPECT_TRUE(cache_entries(folder_).empty());
  EXPECT_TRUE(clear_cache(folder_).empty());
  make_cache_folder(folder_);
  write("model/a", "12345"), write("model/deep/b", "123"), write("c.gguf", "1");
  make_cache_folder(folder_);
  const auto entries = cache_entries(folder_);
  ASSERT_EQ(entries.size(), 2u);
  EXPECT_EQ(entries[0].path.filename(), "c.gguf");
  EXPECT_EQ(entries[1].bytes, 8u);
  EXPECT_EQ(clear_cache(folder_).size(), 2u);
  EXPECT_TRUE(cache_entries(folder_).empty());
  EXPECT_TRUE(clear_cache(folder_).empty());
}

TEST_F(CacheFolder, LeavesAFolderOfSomebodyElseAlone) {
  write("thesis.txt", "years of work");
  make_cache_folder(folder_);  // not empty: no tag is put there
  EXPECT_THROW(clear_cache(folder_), std::runtime_error);
  EXPECT_TRUE(fs::exists(folder_ / "thesis.txt"));
  write("CACHEDIR.TAG", "of another program");
  EXPECT_THROW(clear_cache(folder_), std::runtime_error);
}

TEST_F(CacheFolder, FollowsNoLinkOutOfIt) {
  make_cache_folder(folder_);
  const fs::path outside = folder_.string() + "-outside";
  fs::create_directories(outside);
  std::ofstream(outside / "kept") << "kept";
  fs::create_directory_symlink(outside, folder_ / "link");
  EXPECT_EQ(cache_entries(folder_).at(0).bytes, 0u);
  clear_cache(folder_);
  EXPECT_TRUE(fs::exists(outside / "kept"));
  EXPECT_FALSE(fs::exists(folder_ / "link"));
  fs::remove_all(outside);
}

TEST_F(CacheFolder, SaysWhatToDoWhereItCannotWrite) {
  write("file", "");
  EXPECT_THROW(make_cache_folder(folder_ / "file" / "below"), std::runtime_error);
}

}  // namespace
}  // namespace crossover
