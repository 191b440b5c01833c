#include "bench/journal.h"

#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "bench/json_text.h"
#include "bench/runner.h"
#include "bench/tests/simulation.h"
#include "engine/tests/temp_folder.h"

namespace crossover {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

const JournalHead kHead{"0123456789abcdef", R"({"plan":{"pairs":8,"seed":1},"workload":{"threads":2}})"};

Sample sample_at(int position) {
  Sample sample;
  sample.position = position, sample.pair = position / 2, sample.arm = position % 2 == 0 ? 'A' : 'B';
  sample.started_at = "2026-11-21T06:00:00.000Z";
  sample.metrics["wall_s"] = 1 + position;
  return sample;
}

class JournalFile : public test::FolderTest {
 protected:
  fs::path file() const { return folder_ / "journal.jsonl"; }
  std::string text() const { return read_text_file(file().string()); }
  void write(const std::string& text) const { std::ofstream(file(), std::ios::binary | std::ios::trunc) << text; }

  std::string with_samples(int count) const {
    Journal journal(folder_, kHead, false);
    for (int i = 0; i < count; ++i) journal.append(sample_at(i));
    return text();
  }

  std::string refusal(const JournalHead& head = kHead, bool resume = true, LockCall lock = nullptr) const {
    try {
      Journal journal(folder_, head, resume, lock);
    } catch (const std::runtime_error& error) {
      return error.what();
    }
    return "no refusal";
  }
};

TEST_F(JournalFile, KeepsEveryWholeLineOfAFileCutAnywhere) {
  const std::string whole = with_samples(3);
  for (std::size_t bytes = 0; bytes < whole.size(); ++bytes) {
    const std::string cut = whole.substr(0, bytes);
    const auto lines = static_cast<std::size_t>(std::count(cut.begin(), cut.end(), '\n'));
    const JournalContent content = parse_journal(cut, "cut");
    ASSERT_EQ(content.samples.size(), lines == 0 ? 0 : lines - 1) << bytes;
    if (bytes % 17 != 0) continue;
    write(cut);
    {
      Journal journal(folder_, kHead, /*resume=*/lines > 0);  // nothing is lost where not even the head is whole
      ASSERT_EQ(journal.samples().size(), content.samples.size());
      for (int i = static_cast<int>(journal.samples().size()); i < 3; ++i) journal.append(sample_at(i));
    }
    const JournalContent again = parse_journal(text(), "again");
    ASSERT_EQ(again.samples.size(), 3U);
    for (int i = 0; i < 3; ++i) ASSERT_EQ(again.samples[static_cast<std::size_t>(i)].position, i);
    fs::remove(file());
  }
}

TEST_F(JournalFile, DropsBlocksThatAPowerFailureLeftUnwritten) {
  write(with_samples(2) + std::string(100, '\0') + "\n" + std::string(50, '\0'));
  Journal journal(folder_, kHead, true);
  EXPECT_EQ(journal.samples().size(), 2U);
  EXPECT_EQ(text().find('\0'), std::string::npos);
}

TEST_F(JournalFile, LeavesAFileAloneThatIsNoJournal) {
  for (const std::string content : {"my notes", "my notes\nmore\n", "{\"a\": 1}\n", "[1]\n"}) {
    write(content);
    for (const bool resume : {false, true}) EXPECT_NE(refusal(kHead, resume), "no refusal") << content;
    EXPECT_EQ(text(), content);
  }
}

TEST_F(JournalFile, NamesWhatChangedInTheScenario) {
  with_samples(1);
  JournalHead other = kHead;
  other.plan_hash = "fedcba9876543210";
  other.scenario = R"({"plan":{"pairs":8,"seed":2},"workload":{"threads":2,"chunk":64}})";
  const std::string said = refusal(other);
  EXPECT_NE(said.find("another plan (0123456789ab, not fedcba987654)"), std::string::npos) << said;
  EXPECT_NE(said.find("/plan/seed was 1 and is 2"), std::string::npos) << said;
  EXPECT_NE(said.find("/workload/chunk is new (64)"), std::string::npos) << said;
  other.scenario = R"({"plan":{"pairs":8}})";
  EXPECT_NE(refusal(other).find("/plan/seed was 1 and is gone"), std::string::npos) << refusal(other);
  other.scenario = kHead.scenario;
  EXPECT_NE(refusal(other).find("plans the same scenario in another order"), std::string::npos) << refusal(other);
}

TEST_F(JournalFile, ReadsTheFirstVersionAndRefusesALaterOneByName) {
  const std::string sample = sample_to_json(sample_at(0)).dump() + "\n";
  write(R"({"plan_hash":"0123456789abcdef","schema":"crossover.journal/1","started_at":"2026-11-21T06:00:00.000Z"})" "\n" + sample);
  EXPECT_EQ(Journal(folder_, kHead, true).samples().size(), 1U);
  JournalHead other = kHead;
  other.plan_hash = "f";
  EXPECT_NE(refusal(other).find("the scenario or an option changed"), std::string::npos) << refusal(other);
  write(R"({"schema":"crossover.journal/9","program":"crossover 7.0 abc","plan_hash":"0123456789abcdef"})" "\n" + sample);
  EXPECT_NE(refusal().find("was written by crossover 7.0 abc in the format crossover.journal/9; this build reads crossover.journal/1 and"),
            std::string::npos)
      << refusal();
}

TEST_F(JournalFile, RefusesASampleThatIsThereTwice) {
  const std::string whole = with_samples(2);
  const std::size_t last = whole.rfind('\n', whole.size() - 2) + 1;
  write(whole + whole.substr(last));
  EXPECT_NE(refusal().find("line 4 of " + file().string() + " is sample 1 a second time"), std::string::npos) << refusal();
}

TEST_F(JournalFile, NotesWhoContinuedIt) {
  with_samples(1);
  { const Journal journal(folder_, kHead, true); }
  const JournalContent content = parse_journal(text(), "journal");
  ASSERT_TRUE(content.writer.has_value());
  EXPECT_EQ(*content.writer, this_process());
  EXPECT_EQ(json::parse(text().substr(0, text().find('\n')))["scenario"], json::parse(kHead.scenario));
  EXPECT_TRUE(content.program.starts_with("crossover ")) << content.program;
}

// A process that holds a journal with one sample until it is killed.
class Holder {
 public:
  Holder(const fs::path& folder, LockCall lock) {
    int ready[2];
    EXPECT_EQ(pipe(ready), 0);
    pid_ = fork();
    if (pid_ == 0) {
      Journal journal(folder, kHead, false, lock);
      journal.append(sample_at(0));
      [[maybe_unused]] const ssize_t n = ::write(ready[1], "x", 1);
      while (true) pause();
    }
    close(ready[1]);
    char byte = 0;
    EXPECT_EQ(::read(ready[0], &byte, 1), 1);
    close(ready[0]);
  }
  ~Holder() { end(); }
  void end() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
  std::string name() const { return "process " + std::to_string(pid_) + " on "; }

 private:
  pid_t pid_ = -1;
};

TEST_F(JournalFile, NamesTheProcessThatHoldsItsLock) {
  Holder holder(folder_, nullptr);
  EXPECT_NE(refusal().find(holder.name()), std::string::npos) << refusal();
  EXPECT_NE(refusal(kHead, /*resume=*/false).find(holder.name()), std::string::npos);
  holder.end();
  EXPECT_EQ(Journal(folder_, kHead, true).samples().size(), 1U) << "the lock of a killed process is gone";
}

int no_locks(int, int) {
  errno = ENOLCK;
  return -1;
}

TEST_F(JournalFile, FindsItsWriterWhereTheFileSystemHasNoLocks) {
  Holder holder(folder_, no_locks);
  EXPECT_NE(refusal(kHead, true, no_locks).find(holder.name()), std::string::npos) << refusal(kHead, true, no_locks);
  holder.end();
  EXPECT_EQ(refusal(kHead, true, no_locks), "no refusal");
}

// A limit on file sizes makes writes fail like a full disk does, and needs no privileges.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : signal_(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit small{bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &small);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, signal_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  rlimit before_{};
  void (*signal_)(int);
};

TEST_F(JournalFile, CutsBackALineThatTheDiskHadNoRoomFor) {
  Journal journal(folder_, kHead, false);
  journal.append(sample_at(0));
  const std::string before = text();
  std::string said;
  {
    const FileSizeLimit full(before.size() + 20);
    try {
      journal.append(sample_at(1));
    } catch (const std::runtime_error& error) {
      said = error.what();
    }
  }
  EXPECT_NE(said.find("File too large"), std::string::npos) << said;
  EXPECT_NE(said.find("bytes are free"), std::string::npos) << said;
  EXPECT_EQ(text(), before);
  journal.append(sample_at(1));
  EXPECT_EQ(parse_journal(text(), "journal").samples.size(), 2U);
}

class FullDisk : public JournalFile {
 protected:
  FullDisk() { options_.out = folder_ / "out", options_.quiet = true; }

  RunOutcome run() {
    SimulatedTarget target(program_);
    return run_scenario(scenario_from(scenario_), target, options_);
  }
  std::string failure() {
    try {
      run();
    } catch (const std::runtime_error& error) {
      return error.what();
    }
    return "no failure";
  }
  int taken_ = 0;
  RunOptions options_;
  json scenario_ = scenario_json();
  SimulatedProgram program_;
};

TEST_F(FullDisk, WritesTheResultOnResumeWithoutTakingSamplesAgain) {
  program_.alter = [&](const SampleRequest&, Sample& sample) {
    ++taken_;
    sample.series["decode.token_s"] = std::vector<double>(5000, 0.125);
  };
  options_.out = folder_ / "measure";
  run();
  const auto journal_bytes = fs::file_size(options_.out / "journal.jsonl"), result_bytes = fs::file_size(options_.out / "result.json");
  ASSERT_GT(result_bytes, journal_bytes + (400 << 10));
  options_.out = folder_ / "out";
  std::string said;
  {
    const FileSizeLimit full((journal_bytes + result_bytes) / 2);
    said = failure();
  }
  EXPECT_NE(said.find("result.json: File too large"), std::string::npos) << said;
  EXPECT_NE(said.find("17 finished samples are kept: make room, then continue with the same command and --out"), std::string::npos) << said;
  EXPECT_FALSE(fs::exists(options_.out / "result.json"));
  EXPECT_FALSE(fs::exists(options_.out / "result.json.part"));
  taken_ = 0;
  options_.resume = true;
  EXPECT_EQ(run().samples.size(), 17U);
  EXPECT_EQ(taken_, 0);
  EXPECT_TRUE(fs::exists(options_.out / "result.json"));
}

struct SmallDisk {
  explicit SmallDisk(const fs::path& at) : path(at) {
    fs::create_directory(path);
    mounted = mount("tmpfs", path.c_str(), "tmpfs", 0, "size=4m") == 0;
  }
  ~SmallDisk() {
    if (mounted) umount2(path.c_str(), MNT_DETACH);
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;
  fs::path path;
  bool mounted = false;
};

TEST_F(FullDisk, StopsBeforeASampleThatItCouldNotKeep) {
  const SmallDisk small(folder_ / "disk");
  if (!small.mounted) GTEST_SKIP() << "a small file system takes privileges to mount";
  const fs::path& disk = small.path;
  options_.out = disk / "out";
  scenario_["plan"]["pairs"] = 300;
  program_.alter = [&](const SampleRequest& request, Sample&) {
    ++taken_;
    if (request.position == 10) std::ofstream(disk / "filler") << std::string(8 << 20, 'x');
  };
  const std::string said = failure();
  const int kept = taken_;
  EXPECT_NE(said.find("No space left on device (0 bytes are free there)"), std::string::npos) << said;
  EXPECT_NE(said.find(std::to_string(kept) + " finished samples are kept"), std::string::npos) << said << kept;
  EXPECT_LT(kept, 601);
  fs::remove(disk / "filler");
  options_.resume = true;
  EXPECT_EQ(run().samples.size(), 601U);
  EXPECT_EQ(taken_, 601) << "no sample was taken twice";
}

}  // namespace
}  // namespace crossover
