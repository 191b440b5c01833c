#include "bench/machine/perf_counters.h"

#include <dirent.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>

#include "bench/process/process.h"

namespace crossover {
namespace {

ProcessResult counted(const std::string& script, bool wanted = true) {
  ProcessSpec spec;
  spec.argv = {"/bin/sh", "-c", script};
  spec.environment = {"PATH=/usr/bin:/bin"};
  spec.counted = wanted;
  return run_process(spec);
}

bool counts(const PerfSupport& support, const std::string& name) {
  return std::find(support.counted.begin(), support.counted.end(), name) != support.counted.end();
}

// Every event is counted or has a reason, on any kernel and in any sandbox.
TEST(PerfCounters, AreCountedOrMissingForAReason) {
  const PerfSupport support = perf_support("2");
  EXPECT_EQ(support.counted.size() + support.missing.size(), 9U);
  for (const auto& [name, why] : support.missing) EXPECT_GT(why.size(), 5U) << name;
}

TEST(PerfCounters, OfAChildAreThoseThatTheKernelAllows) {
  const PerfSupport support = perf_support("2");
  const ProcessResult result = counted("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done");
  for (const auto& [name, value] : result.counters) {
    EXPECT_TRUE(counts(support, name)) << name;
    EXPECT_GE(value, 0) << name;
  }
  for (const auto& [name, why] : support.missing) EXPECT_FALSE(result.counters.contains(name)) << name;
  if (counts(support, "perf.task_clock_s")) {
    EXPECT_GT(result.counters.at("perf.task_clock_s"), 0);
    EXPECT_LT(result.counters.at("perf.task_clock_s"), result.wall_s * 1.5);
  }
  if (counts(support, "perf.page_faults")) {
    EXPECT_GT(result.counters.at("perf.page_faults"), 10);
  }
}

// A child of the child counts too; what the harness does meanwhile does not.
TEST(PerfCounters, FollowTheChildrenOfTheChild) {
  if (!counts(perf_support("2"), "perf.task_clock_s")) GTEST_SKIP() << "the kernel counts nothing here";
  const char* loop = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done";
  const ProcessResult result = counted(std::string("sh -c '") + loop + "'; true");
  EXPECT_GT(result.counters.at("perf.task_clock_s"), 0.5 * (result.user_s + result.system_s));
}

TEST(PerfCounters, AreNotTakenUnasked) { EXPECT_TRUE(counted("true", false).counters.empty()); }

TEST(PerfCounters, LeaveNoDescriptorBehind) {
  const auto open = [] {
    int count = 0;
    DIR* folder = opendir("/proc/self/fd");
    while (readdir(folder) != nullptr) ++count;
    closedir(folder);
    return count;
  };
  counted("true");
  const int before = open();
  counted("true");
  perf_support("");
  EXPECT_EQ(open(), before);
}

}  // namespace
}  // namespace crossover
