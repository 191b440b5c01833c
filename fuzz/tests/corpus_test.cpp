// The inputs that the fuzzers start from and those that once were a defect.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "fuzz/fuzz_targets.h"

namespace crossover::fuzz {
namespace {

namespace fs = std::filesystem;

class Corpus : public testing::TestWithParam<Target> {};

TEST_P(Corpus, Runs) {
  int inputs = 0;
  for (const fs::directory_entry& entry : fs::directory_iterator(fs::path(CROSSOVER_SOURCE_DIR) / "fuzz/corpus" / GetParam().name)) {
    SCOPED_TRACE(entry.path().filename().string());
    std::ifstream file(entry.path(), std::ios::binary);
    const std::string input{std::istreambuf_iterator<char>(file), {}};
    EXPECT_NO_THROW(GetParam().run(input));
    // Cut anywhere, a file is still somebody's file.
    for (std::size_t part = 1; part < 8; ++part) EXPECT_NO_THROW(GetParam().run(input.substr(0, input.size() * part / 8)));
    ++inputs;
  }
  EXPECT_GE(inputs, 3);
}

INSTANTIATE_TEST_SUITE_P(Fuzz, Corpus, testing::ValuesIn(kTargets), [](const auto& target) { return target.param.name; });

}  // namespace
}  // namespace crossover::fuzz
