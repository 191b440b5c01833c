#include "bench/page_cache_check.h"

#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "bench/page_cache.h"

namespace crossover {

namespace {

constexpr int kBlocks = 8;
constexpr std::size_t kBlockBytes = 1u << 20;

// A file of eight blocks in the folder that is gone with the object.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::filesystem::path& folder) : path_((folder / "page-cache-check-XXXXXX").string()) {
    const int descriptor = mkstemp(path_.data());
    if (descriptor < 0) throw std::runtime_error(std::string("a file cannot be made there: ") + std::strerror(errno));
    const std::vector<char> block(kBlockBytes, 'x');
    bool written = true;
    for (int i = 0; i < kBlocks && written; ++i)
      written = write(descriptor, block.data(), block.size()) == static_cast<ssize_t>(block.size());
    const int error = errno;
    close(descriptor);
    if (written) return;
    unlink(path_.c_str());
    throw std::runtime_error(std::string("a file of 8 MiB cannot be written there: ") + std::strerror(error));
  }
  ~TemporaryFile() { unlink(path_.c_str()); }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace

PageCacheCheck check_page_cache(const std::filesystem::path& folder) {
  PageCacheCheck found;
  try {
    std::error_code failed;
    std::filesystem::create_directories(folder, failed);
    if (failed) throw std::runtime_error("the folder cannot be made: " + failed.message());
    const TemporaryFile file(folder);
    make_cold({file.path()});
    found.uncached_read_bytes_per_s = uncached_read_bytes_per_s(file.path());
    make_warm({file.path()});
  } catch (const std::runtime_error& error) {
    found.trouble = error.what();
  }
  return found;
}

}  // namespace crossover
