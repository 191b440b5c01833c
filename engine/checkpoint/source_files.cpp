#include "engine/checkpoint/source_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <system_error>

namespace crossover {

struct SourceFiles::File {
  std::string path;
  int descriptor = -1;
  std::uint64_t bytes = 0;
  const std::byte* mapped = nullptr;

  void open(const std::filesystem::path& from, std::uint64_t expected, ReadMode mode);
  std::uint64_t size_now() const;
  ~File() {
    if (mapped) munmap(const_cast<std::byte*>(mapped), bytes);
    if (descriptor >= 0) close(descriptor);
  }
};

std::uint64_t SourceFiles::File::size_now() const {
  struct stat status {};
  if (fstat(descriptor, &status) != 0)
    throw std::runtime_error(fmt::format("cannot query {}: {}", path, std::generic_category().message(errno)));
  return static_cast<std::uint64_t>(status.st_size);
}

void SourceFiles::File::open(const std::filesystem::path& from, std::uint64_t expected, ReadMode mode) {
  path = from.string();
  descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0)
    throw std::runtime_error(fmt::format("cannot open {}: {}", path, std::generic_category().message(errno)));
  bytes = size_now();
  if (bytes != expected)
    throw std::runtime_error(
        fmt::format("{} had {} bytes when its header was read, now it has {}; do not write to it while it is loaded",
                    path, expected, bytes));
  if (mode != ReadMode::kMap || bytes == 0) return;
  void* at = mmap(nullptr, bytes, PROT_READ, MAP_SHARED, descriptor, 0);
  if (at == MAP_FAILED)
    throw std::runtime_error(fmt::format("cannot map {}: {}", path, std::generic_category().message(errno)));
  mapped = static_cast<const std::byte*>(at);
}

SourceFiles::SourceFiles(const Source& source, ReadMode mode)
    : files_(std::make_unique<File[]>(source.files.size())), count_(source.files.size()), mode_(mode) {
  for (std::size_t i = 0; i < count_; ++i) files_[i].open(source.files[i], source.file_bytes[i], mode);
}

SourceFiles::~SourceFiles() = default;

const std::string& SourceFiles::path(std::int32_t file) const { return files_[static_cast<std::size_t>(file)].path; }
int SourceFiles::descriptor(std::int32_t file) const { return files_[static_cast<std::size_t>(file)].descriptor; }
const std::byte* SourceFiles::mapped(std::int32_t file) const { return files_[static_cast<std::size_t>(file)].mapped; }
std::uint64_t SourceFiles::bytes(std::int32_t file) const { return files_[static_cast<std::size_t>(file)].bytes; }

void SourceFiles::fail(std::int32_t file, std::uint64_t offset, const std::string& why, const SourceTensor& tensor) const {
  throw std::runtime_error(
      fmt::format("cannot read tensor {} ({}) at byte {} of {}: {}", tensor.name, tensor.stored_as, offset, path(file), why));
}

const std::byte* SourceFiles::view(std::int32_t file, std::uint64_t offset, std::uint64_t bytes,
                                   const SourceTensor& tensor) const {
  const File& from = files_[static_cast<std::size_t>(file)];
  if (!from.mapped) return nullptr;
  const std::uint64_t now = from.size_now();
  if (offset > now || bytes > now - offset)
    fail(file, offset, fmt::format("the file shrank to {} bytes", now), tensor);
  return from.mapped + offset;
}

void SourceFiles::read(std::int32_t file, std::uint64_t offset, std::byte* to, std::uint64_t bytes,
                       const SourceTensor& tensor) const {
  const File& from = files_[static_cast<std::size_t>(file)];
  if (const std::byte* mapped = view(file, offset, bytes, tensor)) {
    std::memcpy(to, mapped, bytes);
    return;
  }
  for (std::uint64_t done = 0; done < bytes;) {
    const ssize_t got = pread(from.descriptor, to + done, std::min<std::uint64_t>(bytes - done, 1u << 30),
                              static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail(file, offset + done, std::generic_category().message(errno), tensor);
    if (got == 0) fail(file, offset + done, "the file ends there", tensor);
    done += static_cast<std::uint64_t>(got);
  }
}

}  // namespace crossover
