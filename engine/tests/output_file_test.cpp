// Temporary files: those of living writers are left alone, those of killed ones go with the next writer.
#include "engine/checkpoint/output_file.h"

#include <sys/wait.h>

#include <algorithm>
#include <csignal>

#include "engine/checkpoint/write_gguf.h"
#include "engine/load/quantize_file.h"
#include "engine/tests/checkpoint_files.h"

namespace crossover::test {
namespace {

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

TEST(OutputFile, LeavingsOfAKilledWriterGo) {
  const TempFolder folder;
  write_bytes(folder / "x.gguf.0123456789abcdef.part", "left");
  fs::create_directories(folder / "x.gguf.fedcba9876543210.part/below");
  write_bytes(folder / "x.gguf.fedcba9876543210.part/below/file", "left");
  // Other names are not ours to judge.
  const std::vector<std::string> others{"x.gguf", "x.gguf.0123.part", "x.gguf.0123456789abcdeg.part", "xx.gguf.0123456789abcdef.part",
                                        "y.gguf.0123456789abcdef.part"};
  for (const std::string& name : others) write_bytes(folder / name, "kept");
  const OutputFile living(folder / "x.gguf.1111111111111111.part", 10);
  const fs::path next = temporary_beside(folder / "x.gguf");
  std::vector<std::string> expected = others;
  expected.push_back("x.gguf.1111111111111111.part");
  std::sort(expected.begin(), expected.end());
  EXPECT_EQ(names_in(folder.path()), expected);
  EXPECT_FALSE(fs::exists(next));
  EXPECT_EQ(next.parent_path(), folder.path());
}

TEST(OutputFile, AFolderThatIsBeingFilledStays) {
  const TempFolder folder;
  fs::path path;
  {
    const TemporaryFolder living(folder / "model");
    path = living.path();
    write_bytes(path / "part", "of it");
    EXPECT_FALSE(is_abandoned(path));
    temporary_beside(folder / "model/");
    EXPECT_TRUE(fs::exists(path / "part"));
  }
  EXPECT_FALSE(fs::exists(path));
  TemporaryFolder published(folder / "model");
  publish(published.path(), folder / "model");
  published.keep();
  EXPECT_EQ(names_in(folder.path()), std::vector<std::string>{"model"});
}

TEST(OutputFile, OneWriterAtATimeMayClaimAName) {
  const TempFolder folder;
  const fs::path path = folder / "x.part";
  write_bytes(path, std::string(100, 'o'));
  {
    const auto first = OutputFile::claim(path, 10);
    ASSERT_TRUE(first);
    EXPECT_EQ(read_bytes(path), std::string(10, '\0'));
    EXPECT_EQ(OutputFile::claim(path, 10), nullptr);
    EXPECT_TRUE(fs::exists(path));
    EXPECT_FALSE(remove_if_abandoned(path));
    first->put("abc", 3, 4);
    char back[3];
    first->get(back, 3, 4);
    EXPECT_EQ(std::string(back, 3), "abc");
    EXPECT_THROW(first->get(back, 3, 9), std::runtime_error);
    if (std::byte* mapped = first->map()) {
      EXPECT_EQ(std::memcmp(mapped + 4, "abc", 3), 0);
    }
  }
  EXPECT_FALSE(fs::exists(path));
  const auto unlinked = OutputFile::claim(path, 10);
  fs::remove(path);
  EXPECT_FALSE(unlinked->is_at(path));
  const auto second = OutputFile::claim(path, 10);  // the name is free again
  ASSERT_TRUE(second);
  EXPECT_TRUE(second->is_at(path));
}

TEST(OutputFile, AKilledQuantizeLeavesNothingForLong) {
  const TempFolder folder;
  write_synth(tiny(), folder / "model");
  const fs::path out = folder / "out/x.gguf";
  fs::create_directories(out.parent_path());
  const pid_t child = fork();
  if (child == 0) {
    const Source source = open_checkpoint(folder / "model");
    const GgufWriter writer(out, source, plan_gguf(source, DType::kQ6_K));
    raise(SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  ASSERT_EQ(names_in(out.parent_path()).size(), 1u);
  EXPECT_TRUE(names_in(out.parent_path())[0].ends_with(".part"));
  quantize_checkpoint(folder / "model", out, {});
  EXPECT_EQ(names_in(out.parent_path()), std::vector<std::string>{"x.gguf"});
}

}  // namespace
}  // namespace crossover::test
