// A machine made of files: what /proc and /sys would say.
#pragma once

#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace crossover {

class MadeMachine {
 public:
  MadeMachine() {
    std::string name = (std::filesystem::temp_directory_path() / "crossover-machine-XXXXXX").string();
    root_ = mkdtemp(name.data());
  }
  ~MadeMachine() { std::filesystem::remove_all(root_); }
  MadeMachine(const MadeMachine&) = delete;
  MadeMachine& operator=(const MadeMachine&) = delete;

  const std::filesystem::path& root() const { return root_; }
  void write(const std::filesystem::path& path, const std::string& text) const {
    std::filesystem::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }

 private:
  std::filesystem::path root_;
};

}  // namespace crossover
