// A machine made of files: what /proc and /sys would say.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>

#include "engine/tests/temp_folder.h"

namespace crossover {

class MadeMachine {
 public:
  const std::filesystem::path& root() const { return owner_.path(); }
  void write(const std::filesystem::path& path, const std::string& text) const {
    std::filesystem::create_directories((root() / path).parent_path());
    std::ofstream(root() / path) << text;
  }

 private:
  test::TempFolder owner_;
};

}  // namespace crossover
