#include "engine/load/fetch/fetch_reader.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <stdexcept>
#include <system_error>

namespace crossover {
namespace {

constexpr std::uint64_t kKiB = 1024, kMiB = 1024 * kKiB;
constexpr int kPopulateRead = 22;  // MADV_POPULATE_READ (Linux 5.14), which older C libraries do not define

std::string message_of(int error) { return std::generic_category().message(error); }

std::uint64_t page_bytes() { return static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE)); }

[[noreturn]] void refuse_direct(const std::string& path, const std::string& why) {
  throw std::runtime_error(fmt::format("cannot read {} past the page cache: {}; read it through the cache instead (CROSSOVER_READ=pread)", path, why));
}

// What O_DIRECT asks of offsets, sizes and addresses.
std::uint64_t direct_alignment(int descriptor, const std::string& path) {
  struct statfs system {};
  if (fstatfs(descriptor, &system) == 0 && (system.f_type == TMPFS_MAGIC || system.f_type == RAMFS_MAGIC))
    refuse_direct(path, "it lies in memory (tmpfs)");  // which may accept O_DIRECT and ignore it
#ifdef STATX_DIOALIGN
  struct statx status {};
  if (statx(descriptor, "", AT_EMPTY_PATH, STATX_DIOALIGN, &status) == 0 && (status.stx_mask & STATX_DIOALIGN)) {
    if (status.stx_dio_offset_align == 0) refuse_direct(path, "its file system does not support O_DIRECT for it");
    return std::max(status.stx_dio_offset_align, status.stx_dio_mem_align);
  }
#endif
  return 4096;
}

// Measured on a virtual disk of 3 GB/s, cold: direct reads of 2 MiB by two threads saturate it, of 512 KiB reach two thirds; io_uring
// needs no more than 512 KiB. Rows of a column shard (17 KiB of every 34) come twice as fast when the gaps are read too, but for copies
// out of the page cache, which cost as much as another call.
ReadRules rules_of(ReadMode mode) {
  switch (mode) {
    case ReadMode::kMap:
      return {page_bytes(), 64 * kKiB, 2 * kMiB};
    case ReadMode::kRead:
      return {1, 16 * kKiB, kMiB};
    case ReadMode::kDirect:
      return {1, 64 * kKiB, 2 * kMiB};
    default:
      return {1, 64 * kKiB, kMiB};
  }
}

}  // namespace

RequestReader::RequestReader(const SourceFiles& files, ReadMode mode) : files_(files), mode_(mode), rules_(rules_of(mode)) {
  if (mode == ReadMode::kMap && files.mode() != ReadMode::kMap)
    throw std::invalid_argument("files that are not mapped cannot be fetched from a mapping; open them with ReadMode::kMap");
  if (mode != ReadMode::kDirect && mode != ReadMode::kUring) return;
  try {
    for (std::size_t i = 0; i < files.count(); ++i) direct_.push_back(open_direct(static_cast<std::int32_t>(i)));
  } catch (...) {
    for (const int descriptor : direct_) close(descriptor);
    throw;
  }
}

RequestReader::~RequestReader() {
  for (const int descriptor : direct_) close(descriptor);
}

int RequestReader::open_direct(std::int32_t file) {
  const std::string& path = files_.path(file);
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT);
  if (descriptor < 0) {
    if (errno == EINVAL) refuse_direct(path, "its file system does not support O_DIRECT");
    throw std::runtime_error(fmt::format("cannot open {}: {}", path, message_of(errno)));
  }
  try {
    struct stat ours {}, theirs {};
    if (fstat(descriptor, &ours) != 0 || fstat(files_.descriptor(file), &theirs) != 0)
      throw std::runtime_error(fmt::format("cannot query {}: {}", path, message_of(errno)));
    if (ours.st_dev != theirs.st_dev || ours.st_ino != theirs.st_ino)
      throw std::runtime_error(fmt::format("{} was replaced while it was opened; do not write to it while it is loaded", path));
    rules_.alignment = std::max(rules_.alignment, direct_alignment(descriptor, path));
  } catch (...) {
    close(descriptor);
    throw;
  }
  return descriptor;
}

int RequestReader::descriptor(std::int32_t file) const {
  return direct_.empty() ? files_.descriptor(file) : direct_[static_cast<std::size_t>(file)];
}

void RequestReader::read(PendingRead read) const {
  if (mode_ == ReadMode::kMap) return populate(*read.request);
  const ReadRequest& request = *read.request;
  for (bool complete = false; !complete;) {
    const ssize_t got = pread(descriptor(request.file), read.to + read.done, request.bytes - read.done,
                              static_cast<off_t>(request.offset + read.done));
    complete = arrived(read, got < 0 ? -errno : got);
  }
}

bool RequestReader::arrived(PendingRead& read, std::int64_t got) const {
  const ReadRequest& request = *read.request;
  if (got == -EINTR || got == -EAGAIN) return false;
  if (got < 0) throw ReadFailure(request.file, request.offset + read.done, message_of(static_cast<int>(-got)));
  const std::uint64_t valid = read.done + static_cast<std::uint64_t>(got);
  if (valid >= request.needed_bytes) return true;
  const std::uint64_t resume = round_down(valid, rules_.alignment);
  if (resume == read.done)  // a part of an aligned block is all there is
    throw ReadFailure(request.file, request.offset + valid, ends_early(request.file));
  read.done = resume;
  return false;
}

std::string RequestReader::ends_early(std::int32_t file) const {
  return fmt::format("the file ends there, it had {} bytes when it was opened", files_.bytes(file));
}

void RequestReader::populate(const ReadRequest& request) const {
  struct stat status {};
  if (fstat(files_.descriptor(request.file), &status) != 0) throw ReadFailure(request.file, request.offset, message_of(errno));
  const auto size = static_cast<std::uint64_t>(status.st_size);
  if (request.offset + request.needed_bytes > size)
    throw ReadFailure(request.file, std::max(size, request.offset), ends_early(request.file));
  const std::byte* at = files_.mapped(request.file) + request.offset;
  const std::uint64_t page = rules_.alignment;
  const std::uint64_t bytes = std::min(request.bytes, round_up(files_.bytes(request.file) - request.offset, page));
  while (madvise(const_cast<std::byte*>(at), bytes, kPopulateRead) != 0) {
    if (errno == EINTR || errno == EAGAIN) continue;
    if (errno != EINVAL) explain_fault(request, errno);
    for (std::uint64_t i = 0; i < request.needed_bytes; i += page) static_cast<void>(*static_cast<const volatile std::byte*>(at + i));
    return;
  }
}

// madvise does not say which byte it was, pread does.
void RequestReader::explain_fault(const ReadRequest& request, int error) const {
  std::array<std::byte, 4096> scratch;
  for (std::uint64_t done = 0; done < request.needed_bytes; done += scratch.size()) {
    const std::uint64_t bytes = std::min<std::uint64_t>(scratch.size(), request.needed_bytes - done);
    const ssize_t got = pread(files_.descriptor(request.file), scratch.data(), bytes, static_cast<off_t>(request.offset + done));
    if (got < 0) throw ReadFailure(request.file, request.offset + done, message_of(errno));
    const auto valid = static_cast<std::uint64_t>(got);
    if (valid < bytes) throw ReadFailure(request.file, request.offset + done + valid, ends_early(request.file));
  }
  throw ReadFailure(request.file, request.offset, fmt::format("its pages cannot be mapped in: {}", message_of(error)));
}

void RequestReader::drop(const ReadRequest& request) const {
  const std::byte* at = files_.mapped(request.file) + request.offset;
  madvise(const_cast<std::byte*>(at), round_down(request.needed_bytes, rules_.alignment), MADV_DONTNEED);
}

}  // namespace crossover
