// A file written by several threads at known places, complete and on disk before anyone sees its final name.
#pragma once

#include <cstdint>
#include <filesystem>

namespace crossover {

class OutputFile {
 public:
  // Creates `path`, which must not exist, and reserves `bytes` for it: a full disk is reported now, not after hours of
  // work.
  OutputFile(const std::filesystem::path& path, std::uint64_t bytes);
  ~OutputFile();  // closes; removes the file unless keep() was called
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  void put(const void* bytes, std::uint64_t count, std::uint64_t at) const;
  void flush() const;  // to the disk
  void keep() { keep_ = true; }
  const std::filesystem::path& path() const { return path_; }

 private:
  [[noreturn]] void fail(const char* what) const;

  std::filesystem::path path_;
  int descriptor_ = -1;
  bool keep_ = false;
};

// A name beside `path` that no other writer uses.
std::filesystem::path temporary_beside(const std::filesystem::path& path);

// Gives a flushed file or folder its final name and makes the name durable.
void publish(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace crossover
