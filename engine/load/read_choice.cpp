#include "engine/load/read_choice.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <system_error>

#include "engine/load/fetch/fetch_reader.h"
#include "engine/load/fetch/fetch_ring.h"

namespace crossover {
namespace {

constexpr std::uint64_t kProbes = 4096;
// Measured with two ranks on a disk of 2.6 GB/s: a load with three quarters of its files in the page cache takes 2.8 s mapped and 2.4 s by
// io_uring, with all of them 2.1 s either way; memory is faster than that disk by more elsewhere.
constexpr double kMappedShare = 0.8;
// With four ranks, which read every byte twice: 2.9 s mapped, 2.3 s by io_uring. Beyond that nothing was measured.
constexpr double kMostPasses = 2.1;

[[noreturn]] void fail(const char* what, const std::filesystem::path& path) {
  throw std::runtime_error(fmt::format("cannot {} {}: {}", what, path.string(), std::generic_category().message(errno)));
}

// A file mapped to be asked about its pages; none of them is touched.
class Asked {
 public:
  Asked(const std::filesystem::path& path, std::uint64_t bytes) : path_(path), bytes_(bytes) {
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) fail("open", path);
    struct stat status {};
    const bool known = ::fstat(descriptor, &status) == 0;
    // The kernel tells only who owns a file or may write it; others are told that all of it is in memory.
    told_ = known && (status.st_uid == ::geteuid() || ::access(path.c_str(), W_OK) == 0);
    if (told_ && bytes > 0) at_ = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, descriptor, 0);
    ::close(descriptor);
    if (at_ == MAP_FAILED) fail("map", path);
  }
  ~Asked() {
    if (at_) ::munmap(at_, bytes_);
  }
  Asked(const Asked&) = delete;
  Asked& operator=(const Asked&) = delete;

  bool told() const { return told_; }
  bool resident(std::uint64_t offset) const {
    const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    unsigned char state = 0;
    if (::mincore(static_cast<std::byte*>(at_) + offset / page * page, 1, &state) != 0) fail("ask the residency of", path_);
    return state & 1;
  }

 private:
  const std::filesystem::path& path_;
  const std::uint64_t bytes_;
  bool told_ = false;
  void* at_ = nullptr;
};

// Reads the first block of every file that way, or throws.
void try_past_the_cache(const Source& source, ReadMode mode) {
  const SourceFiles files(source, mode);
  const RequestReader reader(files, mode);
  const std::uint64_t block = std::max<std::uint64_t>(reader.rules().alignment, 4096);
  const std::unique_ptr<std::byte, decltype(&std::free)> memory(static_cast<std::byte*>(std::aligned_alloc(block, block)), &std::free);
  if (!memory) throw std::bad_alloc();
  std::optional<ReadRing> ring;
  if (mode == ReadMode::kUring) ring.emplace(reader, 1);
  for (std::size_t i = 0; i < files.count(); ++i) {
    const auto file = static_cast<std::int32_t>(i);
    const ReadRequest request{file, 0, block, std::min<std::uint64_t>(block, files.bytes(file)), 0};
    if (!ring) {
      reader.read({&request, memory.get()});
      continue;
    }
    ring->start({&request, memory.get()}, 0);
    ring->wait([](std::uint64_t, const ReadFailure* failure) {
      if (failure) throw ReadFailure(*failure);
    });
  }
}

}  // namespace

const char* name(ReadMode mode) {
  constexpr std::array kNames{"mmap", "pread", "direct", "uring"};
  return kNames[static_cast<std::size_t>(mode)];
}

std::optional<double> resident_share(const Source& source) {
  const std::uint64_t bytes = std::accumulate(source.file_bytes.begin(), source.file_bytes.end(), std::uint64_t{0});
  if (bytes == 0) return 1.0;
  const std::uint64_t step = std::max<std::uint64_t>(1, bytes / kProbes);
  std::uint64_t asked = 0, resident = 0, next = step / 2;  // from the start of a file
  for (std::size_t i = 0; i < source.files.size(); ++i) {
    const Asked file(source.files[i], source.file_bytes[i]);
    if (!file.told()) return {};
    for (; next < source.file_bytes[i]; next += step) {
      ++asked;
      if (file.resident(next)) ++resident;
    }
    next -= source.file_bytes[i];
  }
  return static_cast<double>(resident) / static_cast<double>(asked);
}

double direct_passes(const Source& source, const ShardPlan& plan) {
  double wanted = 0;
  for (const RankPlan& rank : plan.ranks)
    for (const TensorShard& shard : rank.tensors) {
      const SourceTensor& tensor = source.tensors[shard.tensor];
      if (shard.shape[2] > 0) wanted += static_cast<double>(shard.shape[0] * shard.shape[1] * row_bytes(tensor.dtype, tensor.shape[2]));
    }
  const auto files = static_cast<double>(std::accumulate(source.file_bytes.begin(), source.file_bytes.end(), std::uint64_t{0}));
  return files > 0 ? wanted / files : 0;
}

ReadChoice choose_read(const Source& source, double passes) {
  const std::optional<double> resident = resident_share(source);
  if (!resident) return {ReadMode::kMap, "mapped: the system does not tell this user what of the files is in the page cache"};
  const std::string found = fmt::format("{:.0f} % of the files in the page cache", 100 * *resident);
  if (*resident >= kMappedShare) return {ReadMode::kMap, "mapped: " + found};
  if (passes > kMostPasses) return {ReadMode::kMap, fmt::format("mapped: {}, but past it the ranks would read them {:.1f} times", found, passes)};
  std::string refusals;
  for (const ReadMode mode : {ReadMode::kUring, ReadMode::kDirect}) try {
      try_past_the_cache(source, mode);
      return {mode, fmt::format("past the page cache ({}): {}{}", name(mode), found, refusals), !refusals.empty()};
    } catch (const std::runtime_error& error) {
      refusals += fmt::format("; {}: {}", name(mode), error.what());
    }
  return {ReadMode::kMap, "mapped: " + found + refusals, true};
}

}  // namespace crossover
