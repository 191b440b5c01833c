#include "bench/machine/machine_facts.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <set>
#include <sstream>
#include <stdexcept>
#include <thread>

#include "bench/machine/sample_conditions.h"
#include "bench/machine/system_files.h"
#include "bench/process/process.h"

namespace crossover {

namespace {

namespace fs = std::filesystem;

fs::path cpu_folder(const fs::path& root, int core) { return root / "sys/devices/system/cpu" / ("cpu" + std::to_string(core)); }

// A list of cores as the kernel writes it; empty for garbage.
std::vector<int> cores_of(const std::string& list) {
  try {
    return parse_cpu_list(list);
  } catch (const std::invalid_argument&) {
    return {};
  }
}

bool allowed(const MachineFacts& facts, int core) {
  return std::find(facts.allowed_cores.begin(), facts.allowed_cores.end(), core) != facts.allowed_cores.end();
}

void read_cores(const fs::path& root, MachineFacts& facts) {
  std::set<std::string> governors, siblings;
  for (const int core : facts.allowed_cores) {
    const fs::path cpu = cpu_folder(root, core);
    if (const std::string governor = line_of(cpu / "cpufreq/scaling_governor"); !governor.empty()) governors.insert(governor);
    std::string group;
    int count = 0;
    for (const int other : cores_of(line_of(cpu / "topology/thread_siblings_list")))
      if (allowed(facts, other)) group += (count++ ? "," : "") + std::to_string(other);
    if (count > 1) siblings.insert(group);
  }
  facts.governors.assign(governors.begin(), governors.end());
  facts.siblings.assign(siblings.begin(), siblings.end());
  if (!facts.allowed_cores.empty()) facts.clock_driver = line_of(cpu_folder(root, facts.allowed_cores[0]) / "cpufreq/scaling_driver");
}

void read_turbo(const fs::path& root, MachineFacts& facts) {
  const std::string intel = "sys/devices/system/cpu/intel_pstate/no_turbo", other = "sys/devices/system/cpu/cpufreq/boost";
  if (const std::string off = line_of(root / intel); !off.empty()) facts.turbo = off == "0", facts.turbo_file = "/" + intel;
  else if (const std::string on = line_of(root / other); !on.empty()) facts.turbo = on == "1", facts.turbo_file = "/" + other;
}

// "some avg10=1.23 ...": percent of the last ten seconds.
std::optional<double> pressure_percent(const fs::path& path) {
  const std::string line = line_of(path);
  const std::size_t at = line.find("avg10=");
  if (!line.starts_with("some ") || at == std::string::npos) return std::nullopt;
  return number_of(line.substr(at + 6));
}

void read_clock_source(const fs::path& root, MachineFacts& facts) {
  const fs::path source = root / "sys/devices/system/clocksource/clocksource0";
  facts.clock_source = line_of(source / "current_clocksource");
  std::istringstream others(line_of(source / "available_clocksource"));
  for (std::string name; others >> name;)
    if (name != facts.clock_source) facts.other_clock_sources.push_back(name);
  const auto info = colon_lines(root / "proc/cpuinfo");
  const auto flags = info.find("flags");
  if (flags == info.end()) return;
  const std::string words = " " + flags->second + " ";
  const auto has = [&](const char* flag) { return words.find(std::string(" ") + flag + " ") != std::string::npos; };
  facts.guest = has("hypervisor");
  facts.steady_tsc = has("constant_tsc") && has("nonstop_tsc");
}

void read_nodes(const fs::path& root, MachineFacts& facts) {
  for (const int node : cores_of(line_of(root / "sys/devices/system/node/online"))) {
    const std::string list = line_of(root / "sys/devices/system/node" / ("node" + std::to_string(node)) / "cpulist");
    const std::vector<int> cores = cores_of(list);
    if (std::any_of(cores.begin(), cores.end(), [&](int core) { return allowed(facts, core); }))
      facts.numa_nodes.push_back(fmt::format("{}: {}", node, list));
  }
  if (const auto on = number_of(line_of(root / "proc/sys/kernel/numa_balancing"))) facts.numa_balancing = *on != 0;
}

void read_memory(const fs::path& root, MachineFacts& facts) {
  facts.huge_pages = chosen_of(line_of(root / "sys/kernel/mm/transparent_hugepage/enabled"));
  const auto info = colon_lines(root / "proc/meminfo");
  const auto bytes = [&](const char* name) -> std::optional<double> {
    const auto found = info.find(name);
    const auto kib = found == info.end() ? std::nullopt : number_of(found->second);
    return kib && *kib >= 0 && *kib < 1e15 ? std::optional(*kib * 1024) : std::nullopt;
  };
  const auto total = bytes("SwapTotal"), free = bytes("SwapFree");
  facts.swap_bytes = total;
  if (total && free && *free <= *total) facts.swap_used_bytes = *total - *free;
}

}  // namespace

MachineFacts read_machine_facts(const std::vector<int>& allowed_cores, const fs::path& root) {
  MachineFacts facts;
  facts.allowed_cores = allowed_cores;
  read_cores(root, facts);
  read_turbo(root, facts);
  facts.throttle_events = read_machine_ticks(root).throttle_events;
  facts.quota_cores = cgroup_quota_cores(root);
  facts.load1 = number_of(line_of(root / "proc/loadavg"));
  facts.cpu_pressure_percent = pressure_percent(root / "proc/pressure/cpu");
  facts.memory_pressure_percent = pressure_percent(root / "proc/pressure/memory");
  facts.io_pressure_percent = pressure_percent(root / "proc/pressure/io");
  facts.container = fs::exists(root / ".dockerenv") ? "docker" : fs::exists(root / "run/.containerenv") ? "podman" : "";
  read_clock_source(root, facts);
  read_nodes(root, facts);
  read_memory(root, facts);
  if (const auto level = number_of(line_of(root / "proc/sys/kernel/randomize_va_space"))) facts.address_randomisation = static_cast<int>(*level);
  facts.perf_paranoid = line_of(root / "proc/sys/kernel/perf_event_paranoid");
  return facts;
}

void watch_other_load(double seconds, MachineFacts& facts, const fs::path& root) {
  const MachineTicks before = read_machine_ticks(root);
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
  const MachineTicks after = read_machine_ticks(root);
  const double room_s = seconds * std::max(1.0, static_cast<double>(std::thread::hardware_concurrency()));
  const auto share = [&](const std::optional<double>& from, const std::optional<double>& to) -> std::optional<double> {
    if (!from || !to || *to < *from) return std::nullopt;
    return std::min(1.0, (*to - *from) / room_s);
  };
  facts.others_share = share(before.busy_s, after.busy_s), facts.steal_share = share(before.steal_s, after.steal_s);
}

std::vector<int> cores_allowed_here() {
  std::vector<int> cores;
  cpu_set_t mask;
  if (sched_getaffinity(0, sizeof mask, &mask) != 0) return cores;
  for (int core = 0; core < CPU_SETSIZE; ++core)
    if (CPU_ISSET(static_cast<std::size_t>(core), &mask)) cores.push_back(core);
  return cores;
}

}  // namespace crossover
