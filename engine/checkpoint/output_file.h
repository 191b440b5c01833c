// A file written by several threads at known places, complete and on disk before anyone sees its final name. As long as a
// writer lives it holds a lock (flock) on what it writes, so what a killed writer left can be told from what is in use.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>

namespace crossover {

class OutputFile {
 public:
  // Creates `path`, which must not exist, and reserves `bytes` for it: a full disk is reported now, not after hours of
  // work.
  OutputFile(const std::filesystem::path& path, std::uint64_t bytes);
  ~OutputFile();  // closes; removes the file unless keep() was called
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  // The same for a name that one writer at a time may use: what a killed writer left under it is replaced; nullptr when
  // another process is writing it.
  static std::unique_ptr<OutputFile> claim(const std::filesystem::path& path, std::uint64_t bytes);

  // Long runs go to the disk at once, unless the caller says when (start_write_back).
  enum class WriteBack : std::uint8_t { kAtOnce, kLater };
  void put(const void* bytes, std::uint64_t count, std::uint64_t at, WriteBack start = WriteBack::kAtOnce) const;
  // The whole file in memory, for blocks too small for a system call each: what is copied there is put. nullptr where it cannot be
  // had safely, that is without reserved room, where a full disk would end the process.
  std::byte* map();
  void get(void* bytes, std::uint64_t count, std::uint64_t at) const;  // what was put
  // Lets the disk begin with a range now rather than at the flush. A hint.
  void start_write_back(std::uint64_t at, std::uint64_t count) const;
  void flush() const;                                                  // to the disk
  bool is_at(const std::filesystem::path& path) const;                 // whether `path` names this file
  void keep() { keep_ = true; }
  const std::filesystem::path& path() const { return path_; }

 private:
  OutputFile() = default;
  bool open_and_lock(bool shared_name);
  void reserve(std::uint64_t bytes);
  [[noreturn]] void fail(const char* what) const;

  std::filesystem::path path_;
  int descriptor_ = -1;
  bool keep_ = false;
  std::uint64_t reserved_bytes_ = 0;
  std::byte* mapped_ = nullptr;
};

// A folder beside `path` that is removed with its content unless it was published.
class TemporaryFolder {
 public:
  explicit TemporaryFolder(const std::filesystem::path& beside);
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }
  void keep() { keep_ = true; }

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
  bool keep_ = false;
};

// A name beside `path` that no other writer uses. Temporary files and folders that killed writers of `path` left are
// removed.
std::filesystem::path temporary_beside(const std::filesystem::path& path);

// Whether no living writer holds the lock of a temporary file or folder; and removes it then.
bool is_abandoned(const std::filesystem::path& path);
bool remove_if_abandoned(const std::filesystem::path& path);

// Gives a flushed file or folder its final name and makes the name durable.
void publish(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace crossover
