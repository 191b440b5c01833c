#include "engine/checkpoint/output_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <random>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

namespace crossover {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kWriteBackBytes = 128u << 10;
constexpr std::size_t kRandomDigits = 16;
constexpr std::string_view kSuffix = ".part";

[[noreturn]] void fail_errno(const std::string& what, const fs::path& path) {
  throw std::runtime_error(
      fmt::format("cannot {} {}: {}", what, path.string(), std::generic_category().message(errno)));
}

void flush_folder(const fs::path& folder) {
  const int descriptor = open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return;  // the content is on disk; a power failure now could at most lose the name
  fsync(descriptor);
  close(descriptor);
}

bool same_file(int descriptor, const fs::path& path) {
  struct stat open_one {}, named {};
  return fstat(descriptor, &open_one) == 0 && stat(path.c_str(), &named) == 0 && open_one.st_ino == named.st_ino &&
         open_one.st_dev == named.st_dev;
}

bool is_in_memory(int descriptor) {
  struct statfs system {};
  return fstatfs(descriptor, &system) == 0 && system.f_type == TMPFS_MAGIC;
}

std::uint64_t free_bytes(int descriptor) {
  struct statvfs system {};
  return fstatvfs(descriptor, &system) == 0 ? system.f_bavail * system.f_frsize : 0;
}

// "out/" names the folder out.
fs::path without_slash(const fs::path& path) { return path.has_filename() ? path : path.parent_path(); }

bool is_temporary_of(const std::string& name, const std::string& plain) {
  return name.size() == plain.size() + 1 + kRandomDigits + kSuffix.size() && name.starts_with(plain + ".") &&
         name.ends_with(kSuffix) &&
         name.substr(plain.size() + 1, kRandomDigits).find_first_not_of("0123456789abcdef") == std::string::npos;
}

void remove_abandoned_of(const fs::path& path) {
  const fs::path folder = path.parent_path().empty() ? "." : path.parent_path();
  std::error_code failed;  // tidying up is no reason to fail
  std::vector<fs::path> found;
  for (auto it = fs::directory_iterator(folder, failed); !failed && it != fs::directory_iterator(); it.increment(failed))
    if (is_temporary_of(it->path().filename().string(), path.filename().string())) found.push_back(it->path());
  for (const fs::path& temporary : found) remove_if_abandoned(temporary);
}

}  // namespace

OutputFile::OutputFile(const fs::path& path, std::uint64_t bytes) : path_(path) {
  open_and_lock(false);
  reserve(bytes);
}

std::unique_ptr<OutputFile> OutputFile::claim(const fs::path& path, std::uint64_t bytes) {
  std::unique_ptr<OutputFile> file(new OutputFile);
  file->path_ = path;
  if (!file->open_and_lock(true)) {
    file->keep_ = true;  // it is another's
    return nullptr;
  }
  if (ftruncate(file->descriptor_, 0) != 0) file->fail("empty");
  file->reserve(bytes);
  return file;
}

OutputFile::~OutputFile() {
  if (mapped_) munmap(mapped_, reserved_bytes_);
  if (!keep_ && descriptor_ >= 0 && is_at(path_)) unlink(path_.c_str());
  if (descriptor_ >= 0) close(descriptor_);
}

// Between the opening and the lock another process may take the file for abandoned and remove it: then once more.
bool OutputFile::open_and_lock(bool shared_name) {
  for (;;) {
    descriptor_ = open(path_.c_str(), O_RDWR | O_CREAT | (shared_name ? 0 : O_EXCL) | O_CLOEXEC, 0644);
    if (descriptor_ < 0) fail("create");
    const int locked = flock(descriptor_, LOCK_EX | (shared_name ? LOCK_NB : 0));
    if (locked != 0 && errno == EWOULDBLOCK) return false;
    if (locked != 0 && shared_name) {
      keep_ = true;  // whose it is cannot be known
      fail("lock");
    }
    if (is_at(path_)) return true;
    close(descriptor_);
    descriptor_ = -1;
  }
}

void OutputFile::reserve(std::uint64_t bytes) {
  if (bytes == 0) return;
  // A file system in memory reserves by making every page, from this one thread (0.14 s for a GB): there the writers make them.
  const bool in_memory = is_in_memory(descriptor_);
  if (in_memory && free_bytes(descriptor_) < bytes) errno = ENOSPC;
  else if (in_memory && ftruncate(descriptor_, static_cast<off_t>(bytes)) == 0) return;
  else if (fallocate(descriptor_, 0, 0, static_cast<off_t>(bytes)) == 0) {
    reserved_bytes_ = bytes;
    return;
  }
  // A file system that cannot reserve gets a sparse file.
  const bool full = errno == ENOSPC || errno == EFBIG || errno == EDQUOT;
  if (!full && ftruncate(descriptor_, static_cast<off_t>(bytes)) == 0) return;
  const int reason = errno;
  unlink(path_.c_str());
  close(descriptor_);
  descriptor_ = -1;
  errno = reason;
  fail(fmt::format("reserve {} bytes for", bytes).c_str());
}

void OutputFile::fail(const char* what) const { fail_errno(what, path_); }

bool OutputFile::is_at(const fs::path& path) const { return same_file(descriptor_, path); }

void OutputFile::put(const void* bytes, std::uint64_t count, std::uint64_t at, WriteBack start) const {
  for (std::uint64_t done = 0; done < count;) {
    const auto* from = static_cast<const char*>(bytes) + done;
    const ssize_t wrote =
        pwrite(descriptor_, from, std::min<std::uint64_t>(count - done, 1u << 30), static_cast<off_t>(at + done));
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) fail("write");
    done += static_cast<std::uint64_t>(wrote);
  }
  if (start == WriteBack::kAtOnce && count >= kWriteBackBytes) start_write_back(at, count);
}

std::byte* OutputFile::map() {
  if (mapped_ || reserved_bytes_ == 0) return mapped_;
  void* at = mmap(nullptr, reserved_bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor_, 0);
  return mapped_ = at == MAP_FAILED ? nullptr : static_cast<std::byte*>(at);
}

void OutputFile::get(void* bytes, std::uint64_t count, std::uint64_t at) const {
  for (std::uint64_t done = 0; done < count;) {
    const ssize_t got = pread(descriptor_, static_cast<char*>(bytes) + done,
                              std::min<std::uint64_t>(count - done, 1u << 30), static_cast<off_t>(at + done));
    if (got < 0 && errno == EINTR) continue;
    if (got == 0) errno = EIO;  // it was cut under us
    if (got <= 0) fail("read back");
    done += static_cast<std::uint64_t>(got);
  }
}

void OutputFile::start_write_back(std::uint64_t at, std::uint64_t count) const {
  sync_file_range(descriptor_, static_cast<off_t>(at), static_cast<off_t>(count), SYNC_FILE_RANGE_WRITE);
}

void OutputFile::flush() const {
  if (fsync(descriptor_) != 0) fail("flush");
}

TemporaryFolder::TemporaryFolder(const fs::path& beside) {
  const fs::path parent = without_slash(beside).parent_path();
  if (!parent.empty()) fs::create_directories(parent);
  for (;;) {
    path_ = temporary_beside(beside);
    if (mkdir(path_.c_str(), 0755) != 0) fail_errno("create", path_);
    descriptor_ = open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor_ < 0) {
      if (errno == ENOENT) continue;  // taken for abandoned between the two calls
      fail_errno("open", path_);
    }
    flock(descriptor_, LOCK_EX);  // where locks are not supported nothing is ever taken for abandoned
    if (same_file(descriptor_, path_)) return;
    close(descriptor_);
  }
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  if (!keep_) fs::remove_all(path_, ignored);
  close(descriptor_);
}

fs::path temporary_beside(const fs::path& path) {
  fs::path plain = without_slash(path);
  remove_abandoned_of(plain);
  std::random_device random;
  return plain += fmt::format(".{:08x}{:08x}{}", random(), random(), kSuffix);
}

namespace {

template <class Do>
bool if_abandoned(const fs::path& path, Do&& act) {
  const int descriptor = open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (descriptor < 0) return false;
  const bool abandoned = flock(descriptor, LOCK_EX | LOCK_NB) == 0 && same_file(descriptor, path);
  const bool done = abandoned && act();
  close(descriptor);
  return done;
}

}  // namespace

bool is_abandoned(const fs::path& path) {
  return if_abandoned(path, [] { return true; });
}

bool remove_if_abandoned(const fs::path& path) {
  return if_abandoned(path, [&] {
    std::error_code failed;
    fs::remove_all(path, failed);
    return !failed;
  });
}

void publish(const fs::path& from, const fs::path& to) {
  if (rename(from.c_str(), to.c_str()) != 0) fail_errno("name", to);
  flush_folder(without_slash(to).parent_path());
}

}  // namespace crossover
