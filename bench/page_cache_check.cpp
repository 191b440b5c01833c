#include "bench/page_cache_check.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <optional>
#include <vector>

namespace crossover {

namespace {

constexpr std::size_t kBytes = 8u << 20;

struct File {
  int descriptor = -1;
  std::string path;
  ~File() {
    if (descriptor < 0) return;
    ::close(descriptor);
    ::unlink(path.c_str());
  }
};

std::string failure(const char* what) { return fmt::format("{} failed there: {}", what, std::strerror(errno)); }

// Share of the file in memory; absent where the kernel does not say.
std::optional<double> resident_share(const File& file) {
  void* view = mmap(nullptr, kBytes, PROT_READ, MAP_SHARED, file.descriptor, 0);
  if (view == MAP_FAILED) return std::nullopt;
  const std::size_t page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  std::vector<unsigned char> pages((kBytes + page - 1) / page);
  const int failed = mincore(view, kBytes, pages.data());
  munmap(view, kBytes);
  if (failed) return std::nullopt;
  std::size_t resident = 0;
  for (const unsigned char state : pages) resident += state & 1;
  return static_cast<double>(resident) / static_cast<double>(pages.size());
}

std::string fill(File& file, std::vector<char>& block) {
  for (std::size_t done = 0; done < kBytes; done += block.size())
    if (write(file.descriptor, block.data(), block.size()) != static_cast<ssize_t>(block.size()))
      return failure("writing a file");
  return fsync(file.descriptor) == 0 ? "" : failure("fsync");
}

}  // namespace

std::string page_cache_trouble(const std::filesystem::path& folder) {
  std::error_code failed;
  std::filesystem::create_directories(folder, failed);
  if (failed) return "the folder cannot be made: " + failed.message();
  struct statfs system;
  if (statfs(folder.c_str(), &system) == 0 && system.f_type == TMPFS_MAGIC)
    return "it is on tmpfs, whose files live in memory; choose a folder on a disk";
  File file;
  file.path = (folder / "page-cache-check-XXXXXX").string();
  file.descriptor = mkstemp(file.path.data());
  if (file.descriptor < 0) return failure("making a file");
  std::vector<char> block(1u << 20, 'x');
  if (std::string trouble = fill(file, block); !trouble.empty()) return trouble;
  if (const int error = posix_fadvise(file.descriptor, 0, 0, POSIX_FADV_DONTNEED))
    return fmt::format("eviction failed: {}", std::strerror(error));
  const auto cold = resident_share(file);
  if (!cold) return "the kernel does not say what is in memory there";
  if (*cold > 0.005) return fmt::format("{:.0f} % of a file stayed in memory after eviction", 100 * *cold);
  lseek(file.descriptor, 0, SEEK_SET);
  while (read(file.descriptor, block.data(), block.size()) > 0) continue;
  const auto warm = resident_share(file);
  if (!warm || *warm < 0.995)
    return fmt::format("only {:.0f} % of a file was in memory after it was read", 100 * warm.value_or(0));
  return "";
}

}  // namespace crossover
