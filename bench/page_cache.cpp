#include "bench/page_cache.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <numeric>
#include <stdexcept>
#include <string>
#include <thread>

#include "kernels/trace.h"

namespace crossover {
namespace {
namespace fs = std::filesystem;

class File {
 public:
  explicit File(const fs::path& path) : path_(path), descriptor_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (descriptor_ < 0) fail("open");
    struct stat status {};
    if (fstat(descriptor_, &status) != 0) fail("stat");
    bytes_ = status.st_size;
  }
  ~File() { close(descriptor_); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  int descriptor() const { return descriptor_; }
  std::int64_t bytes() const { return bytes_; }
  [[noreturn]] void fail(const char* what) const {
    throw std::runtime_error(fmt::format("cannot {} {}: {}", what, path_.string(), std::strerror(errno)));
  }

  // Pages of these file systems are the file itself, or belong to a file below; their residency says nothing about a disk.
  void refuse_memory_file_systems() const {
    struct statfs system {};
    if (fstatfs(descriptor_, &system) != 0) fail("ask the file system of");
    const char* kind = system.f_type == TMPFS_MAGIC                             ? "tmpfs"
                       : system.f_type == RAMFS_MAGIC                           ? "ramfs"
                       : system.f_type == OVERLAYFS_SUPER_MAGIC                 ? "overlayfs"
                                                                                : nullptr;
    if (kind)
      throw std::runtime_error(fmt::format("the page-cache state of {} cannot be controlled: it lies on {}; put the model on a disk file system "
                                           "(CROSSOVER_CACHE_DIR for synthetic ones) or set page_cache to \"as-is\"",
                                           path_.string(), kind));
  }

  std::int64_t resident_bytes() const {
    if (bytes_ == 0) return 0;
    void* memory = mmap(nullptr, static_cast<std::size_t>(bytes_), PROT_READ, MAP_SHARED, descriptor_, 0);
    if (memory == MAP_FAILED) fail("map");
    const long page = sysconf(_SC_PAGESIZE);
    std::vector<unsigned char> pages(static_cast<std::size_t>((bytes_ + page - 1) / page));
    const int failed = mincore(memory, static_cast<std::size_t>(bytes_), pages.data());
    munmap(memory, static_cast<std::size_t>(bytes_));
    if (failed) fail("ask the residency of");
    const auto resident = std::count_if(pages.begin(), pages.end(), [](unsigned char state) { return state & 1; });
    return std::min<std::int64_t>(bytes_, resident * page);
  }

  void evict() const {
    if (fsync(descriptor_) != 0) fail("flush");  // dirty pages cannot be dropped
    if (const int error = posix_fadvise(descriptor_, 0, 0, POSIX_FADV_DONTNEED)) {
      errno = error;
      fail("evict");
    }
  }

  void read_all() const {
    std::vector<char> buffer(std::size_t{4} << 20);
    for (std::int64_t at = 0; at < bytes_;) {
      const ssize_t n = pread(descriptor_, buffer.data(), buffer.size(), at);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) fail("read");
      if (n == 0) break;
      at += n;
    }
  }

 private:
  fs::path path_;
  int descriptor_;
  std::int64_t bytes_ = 0;
};

// The kernel answers mincore truthfully only to who owns or may write the file; others are told that everything is resident.
void check_may_ask(const fs::path& path) {
  struct stat status {};
  if (stat(path.c_str(), &status) == 0 && status.st_uid != geteuid() && access(path.c_str(), W_OK) != 0)
    throw std::runtime_error(fmt::format("the page-cache state of {} is not shown to this user, who neither owns it nor may write it; "
                                         "copy the file or set page_cache to \"as-is\"",
                                         path.string()));
}

}  // namespace

Residency residency(const std::vector<fs::path>& files) {
  Residency sum;
  for (const fs::path& path : files) {
    const File file(path);
    file.refuse_memory_file_systems();
    check_may_ask(path);
    sum.bytes_total += file.bytes();
    sum.bytes_resident += file.resident_bytes();
  }
  return sum;
}

Residency make_cold(const std::vector<fs::path>& files) {
  constexpr int kTries = 5;
  Residency found;
  for (int attempt = 0; attempt < kTries; ++attempt) {
    if (attempt > 0) usleep(20'000);  // pages under read-ahead or writeback are let go a little later
    for (const fs::path& path : files) File(path).evict();
    found = residency(files);
    if (found.fraction() <= kColdFraction) return found;
  }
  throw std::runtime_error(fmt::format("asked for a cold page cache, but {} of {} bytes stay resident after {} evictions; is another process "
                                       "reading or mapping the files?",
                                       found.bytes_resident, found.bytes_total, kTries));
}

Residency make_warm(const std::vector<fs::path>& files) {
  Residency found = residency(files);
  for (int attempt = 0; attempt < 2 && found.fraction() < kWarmFraction; ++attempt) {
    for (const fs::path& path : files) File(path).read_all();
    found = residency(files);
  }
  if (found.bytes_total > 0 && found.fraction() < kWarmFraction)
    throw std::runtime_error(fmt::format("asked for a warm page cache, but only {} of {} bytes are resident after reading them; free some memory",
                                         found.bytes_resident, found.bytes_total));
  return found;
}

namespace {

struct PartsRead {
  std::int64_t bytes = 0, least_of_a_part = 0;
  double seconds = 0;
};

// Every thread reads its part from the start until the time or its share of the bytes is used up.
PartsRead read_parts(const File& file, int threads, double limit_s, std::int64_t limit_of_a_part) {
  constexpr std::int64_t kBlockBytes = std::int64_t{1} << 20;
  const std::int64_t part = (file.bytes() + threads - 1) / threads;
  std::vector<std::int64_t> done(static_cast<std::size_t>(threads));
  const double begin_s = monotonic_s();
  std::vector<std::thread> readers;
  for (int t = 0; t < threads; ++t)
    readers.emplace_back([&, t] {
      std::vector<char> buffer(static_cast<std::size_t>(kBlockBytes));
      const std::int64_t first = t * part, end = std::min({file.bytes(), first + part, first + limit_of_a_part});
      std::int64_t at = first;
      while (at < end && monotonic_s() - begin_s < limit_s) {
        const ssize_t n = pread(file.descriptor(), buffer.data(), static_cast<std::size_t>(std::min(kBlockBytes, end - at)), at);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        at += n;
      }
      done[static_cast<std::size_t>(t)] = std::max<std::int64_t>(0, at - first);
    });
  for (std::thread& reader : readers) reader.join();
  const double seconds = monotonic_s() - begin_s;
  return {std::accumulate(done.begin(), done.end(), std::int64_t{0}), *std::min_element(done.begin(), done.end()), seconds};
}

}  // namespace

ReadRates measure_reads(const fs::path& path, int threads) {
  constexpr double kColdLimit_s = 0.4, kWarmLimit_s = 0.1;
  ReadRates rates;
  bool evicted = true;
  try {
    make_cold({path});
  } catch (const std::runtime_error&) {
    evicted = false;
  }
  const File file(path);
  const auto rate = [](const PartsRead& read) { return static_cast<double>(read.bytes) / read.seconds; };
  const PartsRead first = read_parts(file, threads, kColdLimit_s, file.bytes());
  if (first.bytes == 0) return rates;
  if (evicted) rates.cold_bytes_per_s = rate(first);
  const PartsRead again = read_parts(file, threads, kWarmLimit_s, first.least_of_a_part);
  if (again.bytes > 0) rates.warm_bytes_per_s = rate(again);
  return rates;
}

double uncached_read_bytes_per_s(const fs::path& path) {
  make_cold({path});
  const File file(path);
  if (file.bytes() == 0) throw std::runtime_error(fmt::format("{} is empty: there is nothing to read", path.string()));
  const double begin_s = monotonic_s();
  file.read_all();
  return static_cast<double>(file.bytes()) / (monotonic_s() - begin_s);
}

}  // namespace crossover
