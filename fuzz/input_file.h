// An input as a file, for parsers that take a path.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

namespace crossover::fuzz {

class InputFile {
 public:
  // `zeros`: bytes behind the input that take no room.
  InputFile(std::string_view input, const std::string& name, std::uintmax_t zeros = 0) {
    std::string folder = (memory_folder() / "crossover-fuzz-XXXXXX").string();
    if (mkdtemp(folder.data()) == nullptr) std::abort();
    folder_ = folder;
    path_ = folder_ / name;
    std::ofstream(path_, std::ios::binary).write(input.data(), static_cast<std::streamsize>(input.size()));
    if (zeros > 0) std::filesystem::resize_file(path_, input.size() + zeros);
  }
  ~InputFile() { std::filesystem::remove_all(folder_); }
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  static std::filesystem::path memory_folder() {
    return access("/dev/shm", W_OK) == 0 ? std::filesystem::path("/dev/shm") : std::filesystem::temp_directory_path();
  }

  std::filesystem::path folder_, path_;
};

}  // namespace crossover::fuzz
