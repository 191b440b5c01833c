#include "bench/whole_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <stdexcept>

namespace crossover {

namespace {

std::filesystem::path folder_of(const std::filesystem::path& path) { return path.has_parent_path() ? path.parent_path() : "."; }

// 0, or the errno of what failed.
int write_and_sync(int file, const std::string& text) {
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t n = write(file, text.data() + done, text.size() - done);
    if (n >= 0) done += static_cast<std::size_t>(n);
    else if (errno != EINTR) return errno;
  }
  return fsync(file) == 0 || errno == EINVAL ? 0 : errno;
}

}  // namespace

std::string read_if_there(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string write_trouble(const std::filesystem::path& path, int error) {
  const std::string what = std::strerror(error);
  std::error_code unknown;
  const auto space = std::filesystem::space(folder_of(path), unknown);
  const bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
  return full && !unknown ? fmt::format("{} ({} bytes are free there)", what, space.available) : what;
}

void sync_folder(const std::filesystem::path& folder) {
  const int descriptor = open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return;
  fsync(descriptor);
  close(descriptor);
}

void write_whole_file(const std::filesystem::path& path, const std::string& text) {
  const std::string beside = path.string() + ".part";
  const int file = open(beside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  int why = file < 0 ? errno : write_and_sync(file, text);
  if (file >= 0) close(file);
  if (why == 0 && std::rename(beside.c_str(), path.c_str()) != 0) why = errno;
  if (why == 0) return sync_folder(folder_of(path));
  const std::string trouble = write_trouble(path, why);
  if (file >= 0) unlink(beside.c_str());
  throw std::runtime_error(fmt::format("cannot write {}: {}", path.string(), trouble));
}

}  // namespace crossover
