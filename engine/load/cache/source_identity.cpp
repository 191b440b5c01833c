#include "engine/load/cache/source_identity.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <stdexcept>
#include <system_error>

namespace crossover {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kPieceBytes = 1u << 20;
constexpr std::int64_t kPiecesPerTask = 8;  // contiguous, so that read-ahead helps

class OpenFile {
 public:
  explicit OpenFile(const fs::path& path) : path_(path), descriptor_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (descriptor_ < 0) fail(std::generic_category().message(errno));
  }
  ~OpenFile() { close(descriptor_); }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;

  [[noreturn]] void fail(const std::string& why) const {
    throw std::runtime_error(fmt::format("cannot read {}: {}", path_.string(), why));
  }
  struct stat status() const {
    struct stat result {};
    if (fstat(descriptor_, &result) != 0) fail(std::generic_category().message(errno));
    return result;
  }
  void read(std::byte* to, std::uint64_t at, std::uint64_t count) const {
    for (std::uint64_t done = 0; done < count;) {
      const ssize_t got = pread(descriptor_, to + done, count - done, static_cast<off_t>(at + done));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) fail(std::generic_category().message(errno));
      if (got == 0) fail(fmt::format("it ends at byte {}", at + done));
      done += static_cast<std::uint64_t>(got);
    }
  }
  std::uint64_t hash(std::uint64_t bytes) const {
    return hash64(bytes, [this](std::byte* to, std::uint64_t at, std::uint64_t count) { read(to, at, count); });
  }
  void read_ahead(std::uint64_t at, std::uint64_t count) const {
    posix_fadvise(descriptor_, static_cast<off_t>(at), static_cast<off_t>(count), POSIX_FADV_WILLNEED);
  }

 private:
  fs::path path_;
  int descriptor_;
};

std::int64_t nanoseconds(const struct timespec& time) {
  return static_cast<std::int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

// Where the header of a weight file ends. In a GGUF file every tensor is the model's, so it is where the first begins.
std::uint64_t header_bytes(const Source& source, std::size_t file, const OpenFile& in, std::uint64_t file_bytes) {
  std::uint64_t end = file_bytes;
  if (!source.gguf) {
    std::uint64_t length = 0;
    in.read(reinterpret_cast<std::byte*>(&length), 0, std::min<std::uint64_t>(sizeof length, file_bytes));
    return std::min(length, file_bytes - std::min<std::uint64_t>(sizeof length, file_bytes)) +
           std::min<std::uint64_t>(sizeof length, file_bytes);
  }
  for (const SourceTensor& tensor : source.tensors)
    for (const RowSegment& segment : tensor.segments)
      if (static_cast<std::size_t>(segment.file) == file) end = std::min(end, segment.offset);
  return end;
}

SourceFileState state_of(const fs::path& path, const Source* source, std::size_t file) {
  const OpenFile in(path);
  const struct stat status = in.status();
  SourceFileState state;
  state.name = path.filename().string();
  state.bytes = static_cast<std::uint64_t>(status.st_size);
  state.mtime_ns = nanoseconds(status.st_mtim);
  state.ctime_ns = nanoseconds(status.st_ctim);
  state.header_hash = in.hash(source ? header_bytes(*source, file, in, state.bytes) : state.bytes);
  return state;
}

}  // namespace

fs::path SourceIdentity::path_of(std::size_t file) const {
  return fs::is_directory(model) ? model / files.at(file).name : model;
}

SourceIdentity identify(const Source& source) {
  SourceIdentity identity;
  const fs::path first = fs::absolute(source.files.at(0)).lexically_normal();
  identity.model = source.gguf ? first : first.parent_path();
  for (std::size_t i = 0; i < source.files.size(); ++i)
    identity.files.push_back(state_of(source.files[i], &source, i));
  if (source.gguf) return identity;
  for (const char* name : {"config.json", "generation_config.json", "tokenizer.json", "chat_template.jinja"})
    if (fs::is_regular_file(identity.model / name))
      identity.files.push_back(state_of(identity.model / name, nullptr, 0));
  return identity;
}

Hash128 content_hash(const fs::path& path, std::uint64_t bytes, ThreadPool& pool) {
  const OpenFile in(path);
  if (const auto now = static_cast<std::uint64_t>(in.status().st_size); now != bytes)
    in.fail(fmt::format("it had {} bytes, now it has {}", bytes, now));
  std::vector<Hash128> pieces((bytes + kPieceBytes - 1) / kPieceBytes);
  pool.parallel_for(static_cast<std::int64_t>(pieces.size()), kPiecesPerTask, [&](std::int64_t begin, std::int64_t end) {
    const std::uint64_t from = static_cast<std::uint64_t>(begin) * kPieceBytes;
    in.read_ahead(from, std::min(bytes, static_cast<std::uint64_t>(end) * kPieceBytes) - from);
    for (std::int64_t i = begin; i < end; ++i) {
      const std::uint64_t start = static_cast<std::uint64_t>(i) * kPieceBytes;
      pieces[static_cast<std::size_t>(i)] =
          hash128(std::min(kPieceBytes, bytes - start),
                  [&](std::byte* to, std::uint64_t at, std::uint64_t count) { in.read(to, start + at, count); });
    }
  });
  return hash128(pieces.data(), pieces.size() * sizeof(Hash128));
}

}  // namespace crossover
