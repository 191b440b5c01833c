// Grades of machines made of files, and of facts made by hand.
#include "bench/machine/fitness.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "bench/tests/made_machine.h"

namespace crossover {
namespace {

Finding graded(const MachineFacts& facts, const std::string& name) {
  for (const Finding& finding : grade_machine(facts))
    if (finding.name == name) return finding;
  throw std::out_of_range("no finding " + name);
}

Grade grade_of(const MachineFacts& facts, const std::string& name) { return graded(facts, name).grade; }

// A server set up for measuring.
void write_quiet_server(const MadeMachine& machine) {
  for (const std::string core : {"0", "1"}) {
    const std::string cpu = "sys/devices/system/cpu/cpu" + core;
    machine.write(cpu + "/cpufreq/scaling_governor", "performance\n");
    machine.write(cpu + "/cpufreq/scaling_driver", "intel_pstate\n");
    machine.write(cpu + "/topology/thread_siblings_list", core + "\n");
    machine.write(cpu + "/thermal_throttle/core_throttle_count", "0\n");
  }
  machine.write("sys/devices/system/cpu/intel_pstate/no_turbo", "1\n");
  machine.write("sys/fs/cgroup/cpu.max", "max 100000\n");
  machine.write("proc/loadavg", "0.01 0 0 1/1 1\n");
  machine.write("proc/pressure/memory", "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n");
  machine.write("proc/pressure/io", "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n");
  machine.write("proc/cpuinfo", "flags\t: fpu constant_tsc nonstop_tsc\n");
  machine.write("sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n");
  machine.write("sys/devices/system/clocksource/clocksource0/available_clocksource", "tsc hpet acpi_pm\n");
  machine.write("sys/devices/system/node/online", "0\n");
  machine.write("sys/devices/system/node/node0/cpulist", "0-1\n");
  machine.write("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
  machine.write("proc/meminfo", "SwapTotal: 0 kB\nSwapFree: 0 kB\n");
  machine.write("proc/sys/kernel/randomize_va_space", "2\n");
  machine.write("proc/sys/kernel/perf_event_paranoid", "1\n");
}

TEST(Fitness, OfAQuietServerIsGood) {
  MadeMachine machine;
  write_quiet_server(machine);
  MachineFacts facts = read_machine_facts({0, 1}, machine.root());
  facts.perf = PerfSupport{{"perf.instructions"}, {}, false};
  facts.steadiness = Steadiness{100, 0.5, 2};
  facts.clock = Clock{2e-8, 2e-8};
  facts.page_cache = PageCacheCheck{"", 2e9};
  facts.others_share = 0.01, facts.steal_share = 0;
  const std::vector<Finding> findings = grade_machine(facts);
  for (const Finding& finding : findings) {
    EXPECT_EQ(finding.grade, Grade::kGood) << finding.name << ": " << finding.found;
    EXPECT_TRUE(finding.advice.empty()) << finding.name;
  }
  EXPECT_EQ(overall(findings), Grade::kGood);
  EXPECT_EQ(most_helpful(findings), nullptr);
}

TEST(Fitness, OfAMachineThatTellsNothingIsUnknownAndNotGood) {
  MadeMachine machine;
  const std::vector<Finding> findings = grade_machine(read_machine_facts({}, machine.root()));
  std::set<std::string> unknown;
  for (const Finding& finding : findings)
    if (finding.grade == Grade::kUnknown) unknown.insert(finding.name);
  for (const char* name : {"other load", "stolen time", "governor", "turbo", "throttling", "core siblings", "clock source", "pressure", "swap",
                           "huge pages", "memory nodes", "page cache", "perf counters", "address layout", "steadiness"})
    EXPECT_TRUE(unknown.contains(name)) << name;
}

TEST(Fitness, SurvivesGarbage) {
  MadeMachine machine;
  for (const char* file : {"sys/fs/cgroup/cpu.max", "proc/loadavg", "proc/pressure/memory", "proc/cpuinfo", "sys/devices/system/node/online",
                           "sys/devices/system/cpu/cpu0/topology/thread_siblings_list", "proc/meminfo", "proc/sys/kernel/randomize_va_space"})
    machine.write(file, "\xff]some avg10=[-,9-1 nan: \n");
  EXPECT_FALSE(grade_machine(read_machine_facts({0}, machine.root())).empty());
}

TEST(Fitness, GradesClocks) {
  MachineFacts facts;
  facts.governors = {"powersave"}, facts.clock_driver = "intel_pstate";
  EXPECT_EQ(grade_of(facts, "governor"), Grade::kFair);
  facts.clock_driver = "acpi-cpufreq";
  EXPECT_EQ(grade_of(facts, "governor"), Grade::kPoor);
  facts.governors = {"performance", "powersave"};  // on some cores only
  EXPECT_EQ(grade_of(facts, "governor"), Grade::kPoor);
  facts.turbo = true, facts.turbo_file = "/sys/devices/system/cpu/cpufreq/boost";
  EXPECT_EQ(graded(facts, "turbo").command, "echo 0 > /sys/devices/system/cpu/cpufreq/boost");
  facts.turbo_file = "/sys/devices/system/cpu/intel_pstate/no_turbo";
  EXPECT_EQ(graded(facts, "turbo").command, "echo 1 > /sys/devices/system/cpu/intel_pstate/no_turbo");
  facts.throttle_events = 3;
  EXPECT_EQ(grade_of(facts, "throttling"), Grade::kFair);
  facts.clock_source = "kvm-clock", facts.other_clock_sources = {"tsc"};
  EXPECT_EQ(grade_of(facts, "clock source"), Grade::kFair);
  EXPECT_NE(graded(facts, "clock source").command.find("echo tsc"), std::string::npos);
  facts.clock_source = "hpet", facts.other_clock_sources = {};
  EXPECT_EQ(grade_of(facts, "clock source"), Grade::kPoor);
  EXPECT_TRUE(graded(facts, "clock source").command.empty());
  facts.clock_source = "tsc", facts.steady_tsc = false;
  EXPECT_EQ(grade_of(facts, "clock source"), Grade::kFair);
  facts.steady_tsc = true, facts.clock = Clock{1e-6, 1e-6};
  EXPECT_EQ(grade_of(facts, "clock source"), Grade::kPoor);  // every reading is a trap into the host
}

TEST(Fitness, GradesCores) {
  MachineFacts facts;
  facts.allowed_cores = {0, 1, 4, 5};
  EXPECT_EQ(grade_of(facts, "cgroup quota"), Grade::kGood);
  facts.quota_cores = 1.5;
  EXPECT_EQ(grade_of(facts, "cgroup quota"), Grade::kPoor);
  facts.quota_cores = 4;
  EXPECT_EQ(grade_of(facts, "cgroup quota"), Grade::kGood);
  facts.siblings = {"0,4", "1,5"};
  EXPECT_EQ(graded(facts, "core siblings").command, "crossover run SCENARIO --set /workload/cpus=0,1");
  facts.others_share = 0.05;
  EXPECT_EQ(grade_of(facts, "other load"), Grade::kFair);
  facts.others_share = 0.5;
  EXPECT_EQ(grade_of(facts, "other load"), Grade::kPoor);
  facts.others_share.reset(), facts.load1 = 0.2;
  EXPECT_EQ(grade_of(facts, "other load"), Grade::kGood);
  facts.steal_share = 0.01;
  EXPECT_EQ(grade_of(facts, "stolen time"), Grade::kFair);
  facts.numa_nodes = {"0: 0-1", "1: 4-5"};
  EXPECT_EQ(graded(facts, "memory nodes").command, "crossover run SCENARIO --set /workload/cpus=0-1");
}

TEST(Fitness, ReadsSiblingsAndNodesOfAllowedCoresOnly) {
  MadeMachine machine;
  for (const std::string core : {"0", "1", "2", "3"})
    machine.write("sys/devices/system/cpu/cpu" + core + "/topology/thread_siblings_list", core == "0" || core == "2" ? "0,2\n" : "1,3\n");
  machine.write("sys/devices/system/node/online", "0-1\n");
  machine.write("sys/devices/system/node/node0/cpulist", "0,2\n");
  machine.write("sys/devices/system/node/node1/cpulist", "1,3\n");
  const MachineFacts all = read_machine_facts({0, 1, 2, 3}, machine.root());
  EXPECT_EQ(all.siblings, (std::vector<std::string>{"0,2", "1,3"}));
  EXPECT_EQ(all.numa_nodes.size(), 2U);
  const MachineFacts half = read_machine_facts({0, 1}, machine.root());
  EXPECT_TRUE(half.siblings.empty());
  EXPECT_EQ(read_machine_facts({0, 2}, machine.root()).numa_nodes, std::vector<std::string>{"0: 0,2"});
}

TEST(Fitness, GradesMemoryAndKernel) {
  MachineFacts facts;
  facts.swap_bytes = 1e9, facts.swap_used_bytes = 0;
  EXPECT_EQ(grade_of(facts, "swap"), Grade::kFair);
  facts.swap_used_bytes = 1e6;
  EXPECT_EQ(graded(facts, "swap").command, "swapoff -a");
  EXPECT_EQ(grade_of(facts, "swap"), Grade::kPoor);
  facts.memory_pressure_percent = 8;
  EXPECT_EQ(grade_of(facts, "pressure"), Grade::kPoor);
  facts.memory_pressure_percent = 0, facts.io_pressure_percent = 5;
  EXPECT_EQ(grade_of(facts, "pressure"), Grade::kFair);
  for (const char* mode : {"always", "never"}) {
    facts.huge_pages = mode;
    EXPECT_EQ(grade_of(facts, "huge pages"), Grade::kFair) << mode;
  }
  facts.address_randomisation = 0;
  EXPECT_EQ(graded(facts, "address layout").command, "sysctl kernel.randomize_va_space=2");
  facts.page_cache = PageCacheCheck{"tmpfs", std::nullopt};
  EXPECT_EQ(grade_of(facts, "page cache"), Grade::kPoor);
  facts.guest = true;
  EXPECT_EQ(grade_of(facts, "machine"), Grade::kFair);
}

TEST(Fitness, GradesPerfCounters) {
  MachineFacts facts;
  facts.perf = PerfSupport{{"perf.task_clock_s"}, {{"perf.cycles", "the processor's counters are not there"}}, false};
  EXPECT_EQ(grade_of(facts, "perf counters"), Grade::kFair);
  EXPECT_TRUE(graded(facts, "perf counters").command.empty());
  facts.perf = PerfSupport{{}, {{"perf.cycles", "not allowed (perf_event_paranoid 3); ..."}}, false};
  EXPECT_EQ(grade_of(facts, "perf counters"), Grade::kPoor);
  EXPECT_EQ(graded(facts, "perf counters").command, "sysctl kernel.perf_event_paranoid=1");
}

TEST(Fitness, NamesTheOneCommandThatHelpsMost) {
  MachineFacts facts;
  facts.allowed_cores = {0, 1};
  facts.turbo = true, facts.turbo_file = "/sys/devices/system/cpu/cpufreq/boost";
  facts.swap_bytes = 1e9, facts.swap_used_bytes = 1e6;
  facts.steal_share = 0.5;  // poor as well, and no command helps
  const std::vector<Finding> findings = grade_machine(facts);
  EXPECT_EQ(overall(findings), Grade::kPoor);
  ASSERT_NE(most_helpful(findings), nullptr);
  EXPECT_EQ(most_helpful(findings)->command, "swapoff -a");
  const auto json = findings_to_json(findings);
  EXPECT_EQ(json.size(), findings.size());
  for (const auto& entry : json) EXPECT_TRUE(entry.contains("name") && entry.contains("grade") && entry.contains("found"));
}

TEST(Fitness, WatchesOtherLoad) {
  MachineFacts facts;
  watch_other_load(0.01, facts);
  if (facts.others_share) {
    EXPECT_GE(*facts.others_share, 0);
    EXPECT_LE(*facts.others_share, 1);
  }
  MadeMachine machine;
  machine.write("proc/stat", "cpu  1 1 1 1 1 1 1 1\n");
  MachineFacts still;
  watch_other_load(0.001, still, machine.root());
  EXPECT_DOUBLE_EQ(*still.others_share, 0);
}

}  // namespace
}  // namespace crossover
