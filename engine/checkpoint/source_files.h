// The files of a checkpoint, open for reading.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "engine/checkpoint/source.h"

namespace crossover {

enum class ReadMode : std::uint8_t { kMap, kRead, kDirect, kUring };  // mmap, pread, O_DIRECT, O_DIRECT by io_uring

// Contiguous bytes of one file.
struct Extent {
  std::int32_t file;  // index into Source::files
  std::uint64_t offset, bytes;
};

// All files of a source, open for reading; safe to use from several threads.
class SourceFiles {
 public:
  // std::runtime_error when a file cannot be opened, or has another size than when its header was read.
  SourceFiles(const Source& source, ReadMode mode);
  ~SourceFiles();
  SourceFiles(const SourceFiles&) = delete;
  SourceFiles& operator=(const SourceFiles&) = delete;

  ReadMode mode() const { return mode_; }

  // Copies `bytes` bytes from `offset` on. std::runtime_error names `tensor` and the offset. A file that shrank since
  // it was opened is noticed before it is touched; one that shrinks during the copy of a mapping is not.
  void read(std::int32_t file, std::uint64_t offset, std::byte* to, std::uint64_t bytes,
            const SourceTensor& tensor) const;

  // The mapping in kMap mode, else nullptr. Throws like read when the range is no longer in the file.
  const std::byte* view(std::int32_t file, std::uint64_t offset, std::uint64_t bytes, const SourceTensor& tensor) const;

  std::size_t count() const { return count_; }
  const std::string& path(std::int32_t file) const;
  int descriptor(std::int32_t file) const;
  const std::byte* mapped(std::int32_t file) const;  // nullptr but in kMap mode
  std::uint64_t bytes(std::int32_t file) const;  // when it was opened
  // What read and view throw: names tensor, byte and file.
  [[noreturn]] void fail(std::int32_t file, std::uint64_t offset, const std::string& why, const SourceTensor& tensor) const;

 private:
  struct File;
  std::unique_ptr<File[]> files_;
  std::size_t count_ = 0;
  ReadMode mode_;
};

}  // namespace crossover
