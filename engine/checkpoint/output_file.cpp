#include "engine/checkpoint/output_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <random>
#include <stdexcept>
#include <system_error>

namespace crossover {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kWriteBackBytes = 128u << 10;

[[noreturn]] void fail_errno(const char* what, const fs::path& path) {
  throw std::runtime_error(
      fmt::format("cannot {} {}: {}", what, path.string(), std::generic_category().message(errno)));
}

void flush_folder(const fs::path& folder) {
  const int descriptor = open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return;  // the content is on disk; a power failure now could at most lose the name
  fsync(descriptor);
  close(descriptor);
}

}  // namespace

OutputFile::OutputFile(const fs::path& path, std::uint64_t bytes) : path_(path) {
  descriptor_ = open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (descriptor_ < 0) fail("create");
  if (bytes == 0 || fallocate(descriptor_, 0, 0, static_cast<off_t>(bytes)) == 0) return;
  // A file system that cannot reserve gets a sparse file.
  const bool full = errno == ENOSPC || errno == EFBIG || errno == EDQUOT;
  if (!full && ftruncate(descriptor_, static_cast<off_t>(bytes)) == 0) return;
  const int reason = errno;
  close(descriptor_);
  unlink(path_.c_str());
  errno = reason;
  fail(fmt::format("reserve {} bytes for", bytes).c_str());
}

OutputFile::~OutputFile() {
  close(descriptor_);
  if (!keep_) unlink(path_.c_str());
}

void OutputFile::fail(const char* what) const { fail_errno(what, path_); }

void OutputFile::put(const void* bytes, std::uint64_t count, std::uint64_t at) const {
  for (std::uint64_t done = 0; done < count;) {
    const auto* from = static_cast<const char*>(bytes) + done;
    const ssize_t wrote =
        pwrite(descriptor_, from, std::min<std::uint64_t>(count - done, 1u << 30), static_cast<off_t>(at + done));
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) fail("write");
    done += static_cast<std::uint64_t>(wrote);
  }
  // The disk starts now rather than at the flush. A hint: that it is not always followed is no error.
  if (count >= kWriteBackBytes)
    sync_file_range(descriptor_, static_cast<off_t>(at), static_cast<off_t>(count), SYNC_FILE_RANGE_WRITE);
}

void OutputFile::flush() const {
  if (fsync(descriptor_) != 0) fail("flush");
}

fs::path temporary_beside(const fs::path& path) {
  std::random_device random;
  fs::path plain = path;
  if (!plain.has_filename()) plain = plain.parent_path();  // "out/" names the folder out
  return plain += fmt::format(".{:08x}{:08x}.part", random(), random());
}

void publish(const fs::path& from, const fs::path& to) {
  if (rename(from.c_str(), to.c_str()) != 0) fail_errno("name", to);
  const fs::path plain = to.has_filename() ? to : to.parent_path();
  flush_folder(plain.parent_path());
}

}  // namespace crossover
