#include "bench/process/process.h"

#include <dirent.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <thread>

#include "bench/process/interrupt.h"
#include "kernels/trace.h"

namespace crossover {
namespace {

ProcessSpec shell(const std::string& script) {
  ProcessSpec spec;
  spec.argv = {"sh", "-c", script};
  spec.environment = {"PATH=/usr/bin:/bin", "X=1"};
  spec.timeout_s = 20;
  return spec;
}

int open_descriptors() {
  int count = 0;
  DIR* folder = opendir("/proc/self/fd");
  while (readdir(folder) != nullptr) ++count;
  closedir(folder);
  return count;
}

TEST(Process, CapturesStreamsExitCodeAndExactEnvironment) {
  const ProcessResult result = run_process(shell("echo out; echo err >&2; exit 3"));
  EXPECT_EQ(result.output, "out\n");
  EXPECT_EQ(result.error, "err\n");
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_EQ(result.signal, 0);
  EXPECT_GT(result.wall_s, 0);
  ProcessSpec env = shell("");
  env.argv = {"env"};
  EXPECT_EQ(run_process(env).output, "PATH=/usr/bin:/bin\nX=1\n");
}

TEST(Process, GivesInputAndTakesResultOnDescriptorThree) {
  ProcessSpec spec = shell("cat >&3; echo noise");
  spec.input = std::string(300000, 'j');  // more than a pipe holds
  spec.wants_result = true;
  const ProcessResult result = run_process(spec);
  EXPECT_EQ(result.result, spec.input);
  EXPECT_EQ(result.output, "noise\n");
}

TEST(Process, HandsDownNoOtherDescriptor) {
  EXPECT_EQ(run_process(shell("ls /proc/$$/fd | tr '\\n' ' '")).output.substr(0, 6), "0 1 2 ");
  EXPECT_EQ(run_process(shell("[ -e /proc/$$/fd/3 ] && echo leaked")).output, "");
}

TEST(Process, ReportsASignal) {
  const ProcessResult result = run_process(shell("kill -SEGV $$"));
  EXPECT_EQ(result.signal, SIGSEGV);
  EXPECT_EQ(result.exit_code, -1);
}

TEST(Process, EndsTheWholeGroupAtTheTimeLimit) {
  ProcessSpec spec = shell("trap '' TERM; sleep 100 & sleep 100; echo late");
  spec.timeout_s = 0.2;
  const ProcessResult result = run_process(spec);
  EXPECT_TRUE(result.timed_out);
  EXPECT_LT(result.wall_s, 5);
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1);
  EXPECT_EQ(errno, ECHILD);
}

TEST(Process, DoesNotWaitForAGrandchildThatKeepsThePipe) {
  const double before_s = monotonic_s();
  const ProcessResult result = run_process(shell("setsid sleep 60 & echo done"));
  EXPECT_EQ(result.output, "done\n");
  EXPECT_LT(monotonic_s() - before_s, 5);
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1) << "the grandchild was killed and reaped";
}

TEST(Process, LeaksNoDescriptors) {
  run_process(shell("true"));
  const int before = open_descriptors();
  for (int i = 0; i < 5; ++i) run_process(shell("echo x"));
  ProcessSpec missing = shell("");
  missing.argv = {"no-such-program-here"};
  EXPECT_THROW(run_process(missing), std::runtime_error);
  missing.argv = {"/no/such/program"};
  EXPECT_THROW(run_process(missing), std::runtime_error);
  EXPECT_EQ(open_descriptors(), before);
}

TEST(Process, KeepsTheEndOfLongOutput) {
  ProcessSpec spec = shell("i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done");
  spec.max_output_bytes = 1000;
  const ProcessResult result = run_process(spec);
  EXPECT_TRUE(result.truncated_output);
  EXPECT_EQ(result.output.size(), 1000U);
  EXPECT_TRUE(result.output.ends_with("line 19999\n"));
}

TEST(Process, SeesTheMemoryOfTheChildren) {
  const ProcessResult result =
      run_process(shell("awk 'BEGIN { s = \"x\"; for (i = 0; i < 25; i++) s = s s; system(\"sleep 0.3\"); print length(s) }'"));
  EXPECT_EQ(result.output, "33554432\n");
  ASSERT_TRUE(result.peak_bytes.has_value());
  EXPECT_GT(*result.peak_bytes, 32 << 20);
}

TEST(Process, SetsCoresPriorityAndFolder) {
  ProcessSpec spec = shell("grep Cpus_allowed_list /proc/self/status; nice; pwd");
  spec.cpus = {0};
  spec.priority = 5;
  spec.folder = "/";
  const ProcessResult result = run_process(spec);
  EXPECT_EQ(result.output, "Cpus_allowed_list:\t0\n5\n/\n");
  EXPECT_EQ(result.granted_cpus, spec.cpus);
  EXPECT_EQ(result.granted_priority, 5);
}

TEST(Process, EndsTheChildOnInterrupt) {
  InterruptGuard guard;
  std::jthread alarm([] {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    kill(getpid(), SIGINT);
  });
  const ProcessResult result = run_process(shell("sleep 60"));
  EXPECT_TRUE(result.interrupted);
  EXPECT_LT(result.wall_s, 5);
}

TEST(CpuList, ParsesAndRefuses) {
  EXPECT_EQ(parse_cpu_list("0-2,5"), (std::vector<int>{0, 1, 2, 5}));
  EXPECT_TRUE(parse_cpu_list("").empty());
  for (const char* bad : {"a", "1-", "3-1", "1,", ",", "-1", "99999999999", "0-999999", "1 2"})
    EXPECT_THROW(parse_cpu_list(bad), std::invalid_argument) << bad;
}

}  // namespace
}  // namespace crossover
