#include "bench/process/stacks.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>
#include <utility>

#include "bench/process/oom_kills.h"
#include "bench/process/process.h"
#include "bench/process/stack_signal.h"
#include "bench/targets/child.h"
#include "engine/tests/temp_folder.h"

namespace crossover {

namespace {

namespace fs = std::filesystem;

// What `body` prints to descriptor 2 in a process of its own, and how that ends.
template <typename Body>
std::pair<std::string, int> printed_by(Body body) {
  int ends[2];
  EXPECT_EQ(pipe(ends), 0);
  const pid_t pid = fork();
  if (pid == 0) {
    dup2(ends[1], 2);
    close(ends[0]);
    close(ends[1]);
    for (const int number : {SIGSEGV, SIGABRT}) std::signal(number, SIG_DFL);  // not a sanitizer's
    body();
    _exit(0);
  }
  close(ends[1]);
  std::string text;
  char block[4096];
  for (ssize_t n = 0; (n = read(ends[0], block, sizeof block)) > 0;) text.append(block, static_cast<std::size_t>(n));
  close(ends[0]);
  int status = 0;
  waitpid(pid, &status, 0);
  return {text, status};
}

std::size_t count(const std::string& text, const std::string& what) {
  std::size_t n = 0;
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++n;
  return n;
}

TEST(Stacks, OfAllThreadsOfAProcessThatIsAsked) {
  auto [text, status] = printed_by([] {
    print_stacks_on_signals();
    for (int i = 0; i < 3; ++i) std::thread([] { pause(); }).detach();
    raise(kStackSignal);
  });
  EXPECT_TRUE(WIFEXITED(status)) << "it goes on";
  text = "before\n" + text + "after\n";
  const std::string stacks = take_printed_stacks(text);
  EXPECT_EQ(text, "before\nafter\n");
  EXPECT_EQ(count(stacks, "\nthread "), 4U) << stacks;
  EXPECT_EQ(count(stacks, "does not answer"), 0U) << stacks;
  EXPECT_TRUE(stacks.starts_with("stacks of process ")) << stacks;
}

TEST(Stacks, OfACrashThatStaysTheCrashItIs) {
  for (const int number : {SIGSEGV, SIGABRT, SIGFPE}) {
    auto [text, status] = printed_by([number] {
      print_stacks_on_signals();
      raise(number);
    });
    EXPECT_TRUE(WIFSIGNALED(status));
    EXPECT_EQ(WTERMSIG(status), number);
    EXPECT_EQ(count(take_printed_stacks(text), "\nthread "), 1U) << text;
  }
}

TEST(Stacks, ThatWereCutShortAreStillTaken) {
  std::string text = std::string("x\n") + kStacksBegin + "7\nthread 7 a\nprog(_ZN9crossover3runEv+0x1f) [0x55]\n/lib/c(+0x12) [0x56]\nodd";
  EXPECT_EQ(take_printed_stacks(text), "stacks of process 7\nthread 7 a\n  crossover::run()+0x1f  prog\n  /lib/c+0x12\n  odd\n");
  EXPECT_EQ(text, "x\n");
  EXPECT_EQ(take_printed_stacks(text), "");
}

TEST(Stacks, TableOfThreadsShowsTheCallAProcessWaitsIn) {
  ProcessSpec spec;
  spec.argv = {"sh", "-c", "sleep 60; true"};
  spec.environment = {"PATH=/usr/bin:/bin"};
  spec.timeout_s = 0.5;
  const ProcessResult result = run_process(spec);
  EXPECT_TRUE(result.timed_out);
  EXPECT_NE(result.stacks.find("process "), std::string::npos) << result.stacks;
  EXPECT_NE(result.stacks.find(": sleep 60"), std::string::npos) << "children too\n" << result.stacks;
  EXPECT_NE(result.stacks.find(" sleep  state S"), std::string::npos) << result.stacks;
  EXPECT_EQ(thread_table(0x7fffffff).find("thread"), std::string::npos);
}

TEST(Stacks, OfAHungSampleNameWhereItHangs) {
  const test::TempFolder folder;
  const fs::path fifo = folder / "model.gguf";
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);  // to open it waits for a writer that never comes
  const nlohmann::json job{{"kind", "cold_load"}, {"model", fifo.string()}, {"weights", "as-is"}, {"ranks", 1}, {"threads", 1},
                           {"backend", "cpu"}, {"kv_k", "f16"}, {"kv_v", "f16"}, {"chunk", 16}, {"prompt_tokens", 1},
                           {"generate_tokens", 0}, {"depth_tokens", 0}, {"kv_capacity_tokens", 1}, {"token_seed", 1},
                           {"knobs", nlohmann::json::object()}};
  SampleRequest request;
  request.program = CROSSOVER_PROGRAM;
  request.environment = {"PATH=/usr/bin:/bin"};
  request.timeout_s = 3;
  const Sample sample = take_child_sample(request, job.dump());
  EXPECT_EQ(sample.failure, "timeout: no end within the limit of 3 s");
  EXPECT_EQ(sample.last_phase, "load");
  EXPECT_NE(sample.stack.find("crossover::open_checkpoint("), std::string::npos) << sample.failure << sample.stderr_tail << sample.stack;
  EXPECT_EQ(sample.stderr_tail.find("=== "), std::string::npos) << sample.stderr_tail;
}

TEST(OomKills, AreReadOfTheGroupOrElseOfTheMachine) {
  const test::TempFolder owner;
  const fs::path& root = owner.path();
  EXPECT_FALSE(oom_kills(root).has_value());
  fs::create_directories(root / "proc/self");
  std::ofstream(root / "proc/vmstat") << "nr_free_pages 7\noom_kill 5\n";
  EXPECT_EQ(oom_kills(root), 5);
  fs::create_directories(root / "sys/fs/cgroup/a/b");
  std::ofstream(root / "proc/self/cgroup") << "1:cpu:/x\n0::/a/b\n";
  EXPECT_EQ(oom_kills(root), 5) << "a group that tells nothing";
  std::ofstream(root / "sys/fs/cgroup/a/b/memory.events") << "low 0\noom 3\noom_kill 2\n";
  EXPECT_EQ(oom_kills(root), 2);
}

}  // namespace
}  // namespace crossover
