#include "bench/machine/sample_conditions.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "bench/tests/made_machine.h"

namespace crossover {
namespace {

Sample second_long() {
  Sample sample;
  sample.counters = {{"process.wall_s", 1.0}, {"process.user_s", 0.9}, {"process.system_s", 0.1}};
  return sample;
}

TEST(MachineTicks, AreReadFromFiles) {
  MadeMachine machine;
  machine.write("proc/stat", "cpu  100 10 50 800 40 3 2 25 7 0\ncpu0 1 1 1 1\n");
  machine.write("proc/pressure/cpu", "some avg10=1.00 avg60=0.00 avg300=0.00 total=2500000\nfull avg10=0 avg60=0 avg300=0 total=9\n");
  machine.write("sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count", "2\n");
  machine.write("sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count", "3\n");
  machine.write("sys/fs/cgroup/cpu.stat", "usage_usec 77\nnr_throttled 4\nthrottled_usec 1500000\n");
  const MachineTicks ticks = read_machine_ticks(machine.root());
  const double tick_s = 1.0 / static_cast<double>(sysconf(_SC_CLK_TCK));
  EXPECT_DOUBLE_EQ(*ticks.busy_s, 165 * tick_s);
  EXPECT_DOUBLE_EQ(*ticks.steal_s, 25 * tick_s);
  EXPECT_DOUBLE_EQ(*ticks.cpu_pressure_s, 2.5);
  EXPECT_FALSE(ticks.memory_pressure_s);
  EXPECT_DOUBLE_EQ(*ticks.throttle_events, 5);
  EXPECT_DOUBLE_EQ(*ticks.quota_throttled_s, 1.5);
}

TEST(MachineTicks, OfAMachineThatTellsNothingOrGarbageAreAbsent) {
  MadeMachine machine;
  EXPECT_FALSE(read_machine_ticks(machine.root()).busy_s);
  machine.write("proc/stat", "intr 1 2 3\n");
  machine.write("proc/pressure/cpu", "some total\n");
  machine.write("sys/fs/cgroup/cpu.stat", "throttled_usec\n");
  machine.write("sys/fs/cgroup/cpu/cpu.stat", "throttled_time 250000000\n");  // cgroup v1
  const MachineTicks ticks = read_machine_ticks(machine.root());
  EXPECT_FALSE(ticks.busy_s);
  EXPECT_FALSE(ticks.steal_s);
  EXPECT_FALSE(ticks.cpu_pressure_s);
  EXPECT_FALSE(ticks.throttle_events);
  EXPECT_DOUBLE_EQ(*ticks.quota_throttled_s, 0.25);
}

TEST(SampleConditions, OfAQuietMachineRaiseNoFlag) {
  Sample sample = second_long();
  note_machine({10, 1, 5, 0.5, 0, 0, 0}, {11.05, 1.01, 5, 0.6, 0, 0, 0}, 2, sample);
  EXPECT_TRUE(sample.flags.empty()) << sample.flags.front();
  EXPECT_NEAR(sample.counters.at("machine.others_s"), 0.05, 1e-9);
  EXPECT_NEAR(sample.counters.at("machine.steal_s"), 0.01, 1e-9);
  EXPECT_EQ(sample.counters.at("machine.throttle_events"), 0);
}

TEST(SampleConditions, OfADisturbedMachineAreFlaggedByName) {
  Sample sample = second_long();
  note_machine({10, 1, 5, 0, 0, 0, 2}, {11.5, 1.2, 8, 0, 0, 0, 2.3}, 2, sample);
  ASSERT_EQ(sample.flags.size(), 4U);
  EXPECT_EQ(sample.flags[0], "throttled: the clock was lowered 3 times by heat or power");
  EXPECT_EQ(sample.flags[1], "interference: other programs computed 0.50 s beside it");
  EXPECT_EQ(sample.flags[2], "interference: the host took 0.20 s of its cores");
  EXPECT_EQ(sample.flags[3], "quota: its threads were held back 0.30 s by the cgroup");
}

TEST(SampleConditions, LeaveOutWhatIsNotKnown) {
  Sample sample = second_long();
  note_machine({}, {11.5, 1.2, 8, 0, 0, 0, 0}, 2, sample);
  note_machine({20, 2, 9, 0, 0, 0, 0}, {10, 1, 8, 0, 0, 0, 0}, 2, sample);  // set back: not a negative number
  EXPECT_FALSE(sample.counters.contains("machine.others_s"));
  EXPECT_FALSE(sample.counters.contains("machine.throttle_events"));
  EXPECT_TRUE(sample.flags.empty());
  Sample simulated;
  note_machine({10, 1, 5, 0, 0, 0, 0}, {90, 1, 9, 0, 0, 0, 0}, 2, simulated);
  EXPECT_TRUE(simulated.counters.empty());
  EXPECT_TRUE(simulated.flags.empty());
}

TEST(SampleConditions, OfAProcessAreItsOwn) {
  ProcessSpec spec;
  spec.argv = {"/bin/sh", "-c", "i=0; while [ $i -lt 2000 ]; do i=$((i+1)); done"};
  spec.environment = {"PATH=/usr/bin:/bin"};
  spec.counted = true;
  spec.priority = 3;
  Sample sample;
  note_process(run_process(spec), sample);
  EXPECT_GT(sample.counters.at("process.wall_s"), 0);
  EXPECT_GT(sample.counters.at("process.minor_faults"), 0);
  EXPECT_EQ(sample.priority, 3);
  EXPECT_FALSE(sample.cpus.empty());
  for (const auto& [name, value] : sample.counters) EXPECT_TRUE(varies_by_itself(name)) << name;
  EXPECT_FALSE(varies_by_itself("launches.matmul"));
  EXPECT_FALSE(varies_by_itself("reused_tokens"));
}

}  // namespace
}  // namespace crossover
