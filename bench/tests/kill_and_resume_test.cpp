// The program itself, killed while it measures, and continued.
#include <gtest/gtest.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "bench/json_text.h"
#include "engine/tests/temp_folder.h"
#include "kernels/trace.h"

namespace crossover {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr int kKills = 50;
constexpr int kSamples = 81;  // 40 pairs and the control

class KillAndResume : public test::FolderTest {
 protected:
  KillAndResume() {
    write_scenario("echo {sample} >> " + ran().string() + "; echo took 1.{sample}7 s");
  }

  fs::path ran() const { return folder_ / "ran"; }  // the programs that were started, by their sample

  void write_scenario(const std::string& script) {
    const json scenario{{"schema", "crossover.scenario/1"},
                        {"name", "killed"},
                        {"workload",
                         {{"kind", "external"}, {"command", {"sh", "-c", script}}, {"metrics", {{"t_s", {{"regex", "took ([0-9.]+) s"}}}}}}},
                        {"arms", {{"A", json::object()}, {"B", json::object()}}},
                        {"plan", {{"pairs", (kSamples - 1) / 2}, {"seed", 5}, {"primary", "t_s"}}}};
    std::ofstream(folder_ / "scenario.json") << scenario.dump();
  }

  pid_t start(const fs::path& out) const {
    std::vector<std::string> words{CROSSOVER_PROGRAM, "run",     (folder_ / "scenario.json").string(), "--out", out.string(),
                                   "--resume",        "--quiet", "--report-only"};
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    const std::string log = (folder_ / "log").string();
    for (const int fd : {1, 2}) posix_spawn_file_actions_addopen(&actions, fd, log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
    pid_t pid = -1;
    EXPECT_EQ(posix_spawn(&pid, CROSSOVER_PROGRAM, &actions, nullptr, argv.data(), environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    return pid;
  }

  static int finish(pid_t pid) {
    int status = 0;
    waitpid(pid, &status, 0);
    return status;
  }

  std::vector<std::string> whole_lines(const fs::path& file) const {
    std::string text = test::read_bytes(file);
    text.resize(text.rfind('\n') == std::string::npos ? 0 : text.rfind('\n') + 1);
    std::vector<std::string> lines;
    std::istringstream all(text);
    for (std::string line; std::getline(all, line);) lines.push_back(line);
    return lines;
  }

  // How often each sample has a line.
  std::map<int, int> journalled(const fs::path& out) const {
    std::map<int, int> count;
    for (const std::string& line : whole_lines(out / "journal.jsonl"))
      if (const json entry = json::parse(line); entry.contains("position")) ++count[entry["position"].get<int>()];
    return count;
  }

  json result(const fs::path& out) const { return parse_json(read_text_file((out / "result.json").string()), "result"); }
  std::string log() const { return fs::exists(folder_ / "log") ? read_text_file((folder_ / "log").string()) : ""; }
};

TEST_F(KillAndResume, LosesAndDoublesNoSampleAtFiftyRandomPoints) {
  const fs::path reference = folder_ / "reference";
  ASSERT_EQ(finish(start(reference)), 0) << log();
  const double begin_s = monotonic_s();
  ASSERT_EQ(finish(start(reference)), 0) << log();  // finished already: what a start and the end of a run take
  const double ends_s = monotonic_s() - begin_s;
  const json expected = result(reference);

  std::mt19937_64 random(11);
  int kills = 0;
  for (int run = 0; kills < kKills; ++run) {
    const fs::path out = folder_ / std::to_string(run);
    fs::remove(ran());
    std::vector<std::string> before;
    for (bool finished = false; !finished;) {
      const auto runs_before = whole_lines(ran());
      const auto kept = journalled(out);
      const pid_t pid = start(out);
      if (kills < kKills) {
        std::this_thread::sleep_for(std::chrono::duration<double>(1.3 * ends_s * static_cast<double>(random() % 1000) / 1000));
        kill(pid, SIGKILL);
      }
      const int status = finish(pid);
      finished = WIFEXITED(status);
      ASSERT_TRUE(!finished || WEXITSTATUS(status) == 0) << log();
      kills += finished ? 0 : 1;
      const auto now = whole_lines(out / "journal.jsonl");
      ASSERT_GE(now.size(), before.size());
      for (std::size_t i = 0; i < before.size(); ++i) ASSERT_EQ(now[i], before[i]) << "line " << i + 1 << " changed";
      before = now;
      const auto runs = whole_lines(ran());
      for (std::size_t i = runs_before.size(); i < runs.size(); ++i) ASSERT_FALSE(kept.contains(std::stoi(runs[i]))) << "taken again";
    }
    const auto samples = journalled(out);
    ASSERT_EQ(samples.size(), kSamples);
    for (const auto& [position, count] : samples) ASSERT_EQ(count, 1) << position;
    json found = result(out);
    EXPECT_EQ(found["plan"], expected["plan"]);
    EXPECT_EQ(found["verdict"], expected["verdict"]);
    EXPECT_EQ(found["analysis"][0]["metrics"]["t_s"], expected["analysis"][0]["metrics"]["t_s"]);
    for (int i = 0; i < kSamples; ++i) EXPECT_EQ(found["samples"][i]["metrics"]["t_s"], expected["samples"][i]["metrics"]["t_s"]);
  }
}

TEST_F(KillAndResume, PreparesItsModelsInSpiteOfKills) {
  const json scenario{{"schema", "crossover.scenario/1"},
                      {"name", "prepared"},
                      {"workload",
                       {{"kind", "prefill"}, {"model", {{"synth", "tiny-dense"}, {"layers", 4}, {"vocab", 512}}}, {"prompt_tokens", 4}, {"threads", 1}}},
                      {"arms", {{"A", json::object()}, {"B", json::object()}}},
                      {"plan", {{"pairs", 2}}}};
  std::ofstream(folder_ / "scenario.json") << scenario.dump();
  setenv("CROSSOVER_CACHE_DIR", (folder_ / "cache").c_str(), 1);
  const fs::path out = folder_ / "out";
  for (const int wait_ms : {5, 15, 30, 60, 90, 120, 160, 200}) {
    const pid_t pid = start(out);
    std::this_thread::sleep_for(std::chrono::milliseconds(wait_ms));
    kill(pid, SIGKILL);
    finish(pid);
  }
  EXPECT_EQ(finish(start(out)), 0) << log();
  EXPECT_EQ(journalled(out).size(), 5U);
  unsetenv("CROSSOVER_CACHE_DIR");
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_ / "cache"))
    EXPECT_EQ(entry.path().filename().string().find(".part"), std::string::npos) << "left behind: " << entry.path();
}

TEST_F(KillAndResume, EndsWhatTheKilledRunHadStarted) {
  // Its own session and parents that are gone: neither a group nor a chain of parents leads to it.
  write_scenario("(setsid sh -c 'echo $$ > " + (folder_ / "stray").string() + "; exec sleep 300' &) ; echo $$ > " +
                 (folder_ / "child").string() + "; sleep 300; true");
  const pid_t pid = start(folder_ / "out");
  const auto number = [&](const char* name) {
    pid_t value = 0;
    std::ifstream(folder_ / name) >> value;
    return value;
  };
  for (int i = 0; i < 2000 && (number("child") == 0 || number("stray") == 0); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  const pid_t child = number("child"), stray = number("stray");
  ASSERT_GT(child, 0) << log();
  ASSERT_GT(stray, 0) << log();
  kill(pid, SIGKILL);
  finish(pid);
  const auto alive = [](pid_t process) {
    std::ifstream stat("/proc/" + std::to_string(process) + "/stat");
    std::string text;
    std::getline(stat, text);  // which, unlike the buffer, does not throw when the process goes while it is read
    return !text.empty() && text.find(") Z") == std::string::npos;  // somebody else reaps it
  };
  for (int i = 0; i < 2000 && (alive(child) || alive(stray)); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_FALSE(alive(child));
  EXPECT_FALSE(alive(stray));
}

}  // namespace
}  // namespace crossover
