// Where reference data of the tests lies.
#pragma once

#include <filesystem>
#include <string>

namespace crossover::test {

// in_tree: "engine/tests/data/reference". In a bundle (tools/bundle.sh) the data lies beside the programs, else in the source tree.
inline std::filesystem::path tree_data(const std::string& in_tree) {
  const auto beside = std::filesystem::read_symlink("/proc/self/exe").parent_path().parent_path() / "tests" / in_tree;
  return std::filesystem::exists(beside) ? beside : std::filesystem::path(CROSSOVER_SOURCE_DIR) / in_tree;
}

}  // namespace crossover::test
