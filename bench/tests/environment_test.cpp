#include "bench/machine/environment.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "bench/tests/made_machine.h"

namespace crossover {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

class Environment : public testing::Test {
 protected:
  MadeMachine machine_;

  void write(const fs::path& path, const std::string& text) { machine_.write(path, text); }
  json read() { return json::parse(environment_json(machine_.root())); }
};

TEST_F(Environment, ReadsWhatTheMachineTells) {
  write("proc/cpuinfo",
        "processor\t: 0\nmodel name\t: Some CPU @ 3 GHz\nflags\t\t: fpu avx2 fma hypervisor avx512_vnni\n");
  write("proc/meminfo", "MemTotal:       2048 kB\nMemAvailable:   1024 kB\n");
  write("proc/loadavg", "1.50 1.2 1.0 1/100 1\n");
  write("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance\n");
  write("sys/devices/system/cpu/cpu0/cache/index0/level", "1\n");
  write("sys/devices/system/cpu/cpu0/cache/index0/type", "Data\n");
  write("sys/devices/system/cpu/cpu0/cache/index0/size", "32K\n");
  write("sys/fs/cgroup/cpu.max", "150000 100000\n");
  write("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
  write("proc/driver/nvidia/gpus/0000:01:00.0/information", "Model: \t\t Some GPU\nIRQ: 1\n");
  write("proc/driver/nvidia/version", "NVRM version: 1.2.3\n");
  const json found = read();
  EXPECT_EQ(found.at("cpu").at("model"), "Some CPU @ 3 GHz");
  EXPECT_EQ(found.at("cpu").at("features"), json({"avx2", "fma", "avx512_vnni"}));
  EXPECT_EQ(found.at("cpu").at("governor"), "performance");
  EXPECT_EQ(found.at("cpu").at("caches").at("L1d"), "32K");
  EXPECT_DOUBLE_EQ(found.at("cpu").at("cgroup_quota_cores"), 1.5);
  EXPECT_EQ(found.at("memory").at("total_bytes"), 2048 * 1024);
  EXPECT_EQ(found.at("memory").at("transparent_huge_pages"), "madvise");
  EXPECT_EQ(found.at("virtualisation").at("guest"), true);
  EXPECT_DOUBLE_EQ(found.at("load_before"), 1.5);
  EXPECT_EQ(found.at("gpus").at(0).at("model"), "Some GPU");
  EXPECT_EQ(found.at("gpu_driver"), "NVRM version: 1.2.3");
}

TEST_F(Environment, LeavesOutWhatTheMachineDoesNotTell) {
  const json found = read();
  EXPECT_FALSE(found.at("cpu").contains("model"));
  EXPECT_FALSE(found.at("cpu").contains("cgroup_quota_cores"));
  EXPECT_FALSE(found.at("memory").contains("total_bytes"));
  EXPECT_FALSE(found.contains("load_before"));
  EXPECT_FALSE(found.contains("gpus"));
}

TEST_F(Environment, SurvivesGarbage) {
  write("proc/cpuinfo", std::string("model name: \xff\xfe\x01\nflags: avx2\n:\n::::\n"));
  write("proc/meminfo", "MemTotal: -5 kB\nMemAvailable: nan kB\nSwapTotal: many\n");
  write("proc/loadavg", "inf");
  write("sys/fs/cgroup/cpu.max", "100 0");
  write("sys/kernel/mm/transparent_hugepage/enabled", "]always[");
  const json found = read();
  EXPECT_FALSE(found.at("memory").contains("total_bytes"));
  EXPECT_FALSE(found.at("memory").contains("available_bytes"));
  EXPECT_FALSE(found.at("memory").contains("transparent_huge_pages"));
  EXPECT_FALSE(found.contains("load_before"));
  EXPECT_FALSE(found.at("cpu").contains("cgroup_quota_cores"));
}

TEST_F(Environment, UnlimitedQuotaIsAbsent) {
  write("sys/fs/cgroup/cpu.max", "max 100000\n");
  EXPECT_FALSE(read().at("cpu").contains("cgroup_quota_cores"));
  write("sys/fs/cgroup/cpu.max", "");
  write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "50000\n");
  write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  EXPECT_DOUBLE_EQ(read().at("cpu").at("cgroup_quota_cores"), 0.5);
}

TEST_F(Environment, ClocksPerCore) {
  write("sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "3000000\n");
  write("sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq", "2500400\n");
  write("sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count", "2\n");
  write("sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count", "3\n");
  write("sys/class/thermal/thermal_zone0/temp", "41000\n");
  write("sys/class/thermal/thermal_zone1/temp", "67500\n");
  write("sys/class/thermal/thermal_zone2/temp", "-274000\n");  // a sensor that is not connected
  const json found = json::parse(clocks_json(machine_.root()));
  EXPECT_DOUBLE_EQ(found.at("temperature_c"), 67.5);
  EXPECT_EQ(found.at("mhz"), json({3000.0, 2500.0}));
  EXPECT_EQ(found.at("throttle_events"), 5);
  EXPECT_EQ(json::parse(clocks_json(machine_.root() / "nowhere")), json::object());
}

TEST(EnvironmentHere, IsOneObjectOfThisMachine) {
  const json found = json::parse(environment_json());
  EXPECT_GT(found.at("cpu").at("allowed_cores").get<int>(), 0);
  EXPECT_GT(found.at("memory").at("total_bytes").get<double>(), 1e6);
  EXPECT_FALSE(found.at("kernel").get<std::string>().empty());
}

}  // namespace
}  // namespace crossover
