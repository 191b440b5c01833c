#include "bench/machine/sample_conditions.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <sstream>

#include "bench/machine/system_files.h"

namespace crossover {

namespace {

namespace fs = std::filesystem;

// Below these a sample is as quiet as machines are; ticks of /proc/stat are 10 ms, so a few of them prove nothing.
constexpr double kOtherWorkShare = 0.10, kStealShare = 0.02, kLeastSeen_s = 0.05;

// "cpu  user nice system idle iowait irq softirq steal guest guest_nice" in clock ticks; guests are counted in user already.
void read_stat(const fs::path& path, MachineTicks& ticks) {
  std::istringstream line(line_of(path));
  std::string name;
  double user = 0, nice = 0, system = 0, idle = 0, iowait = 0, irq = 0, softirq = 0, steal = 0;
  if (!(line >> name >> user >> nice >> system >> idle >> iowait >> irq >> softirq) || name != "cpu") return;
  const double tick_s = 1.0 / static_cast<double>(std::max(1L, sysconf(_SC_CLK_TCK)));
  ticks.busy_s = (user + nice + system + irq + softirq) * tick_s;
  if (line >> steal) ticks.steal_s = steal * tick_s;
}

// "some avg10=0.00 avg60=0.00 avg300=0.00 total=12345": microseconds.
std::optional<double> pressure_s(const fs::path& path) {
  const std::string line = line_of(path);
  const std::size_t total = line.find(" total=");
  if (!line.starts_with("some ") || total == std::string::npos) return std::nullopt;
  const auto micros = number_of(line.substr(total + 7));
  return micros ? std::optional(*micros * 1e-6) : std::nullopt;
}

std::optional<double> throttle_events(const fs::path& root) {
  std::optional<double> events;
  for (int core = 0; core < 4096; ++core) {
    const fs::path cpu = root / "sys/devices/system/cpu" / ("cpu" + std::to_string(core));
    if (!fs::exists(cpu)) break;
    if (const auto count = number_of(line_of(cpu / "thermal_throttle/core_throttle_count"))) events = events.value_or(0) + *count;
  }
  return events;
}

std::optional<double> quota_throttled_s(const fs::path& root) {
  if (const auto micros = keyed_number(root / "sys/fs/cgroup/cpu.stat", "throttled_usec")) return *micros * 1e-6;
  if (const auto nanos = keyed_number(root / "sys/fs/cgroup/cpu/cpu.stat", "throttled_time")) return *nanos * 1e-9;
  return std::nullopt;
}

// Puts the growth into the sample's counters; a counter that was set back is not known.
std::optional<double> grown(Sample& sample, const char* name, const std::optional<double>& before, const std::optional<double>& after) {
  if (!before || !after || *after < *before) return std::nullopt;
  sample.counters[name] = *after - *before;
  return *after - *before;
}

double counter_or_0(const Sample& sample, const char* name) {
  const auto it = sample.counters.find(name);
  return it == sample.counters.end() ? 0 : it->second;
}

}  // namespace

MachineTicks read_machine_ticks(const fs::path& root) {
  MachineTicks ticks;
  read_stat(root / "proc/stat", ticks);
  ticks.throttle_events = throttle_events(root);
  ticks.cpu_pressure_s = pressure_s(root / "proc/pressure/cpu");
  ticks.memory_pressure_s = pressure_s(root / "proc/pressure/memory");
  ticks.io_pressure_s = pressure_s(root / "proc/pressure/io");
  ticks.quota_throttled_s = quota_throttled_s(root);
  return ticks;
}

void note_process(const ProcessResult& process, Sample& sample) {
  for (const auto& [name, value] : process.counters) sample.counters[name] = value;
  sample.counters["process.wall_s"] = process.wall_s;
  sample.counters["process.user_s"] = process.user_s, sample.counters["process.system_s"] = process.system_s;
  sample.counters["process.minor_faults"] = static_cast<double>(process.minor_faults);
  sample.counters["process.major_faults"] = static_cast<double>(process.major_faults);
  sample.counters["process.voluntary_switches"] = static_cast<double>(process.voluntary_switches);
  sample.counters["process.involuntary_switches"] = static_cast<double>(process.involuntary_switches);
  sample.cpus = process.granted_cpus, sample.priority = process.granted_priority;
}

void note_machine(const MachineTicks& before, const MachineTicks& after, int cores, Sample& sample) {
  const double wall_s = counter_or_0(sample, "process.wall_s"), room_s = wall_s * std::max(1, cores);
  if (wall_s <= 0) return;
  const auto busy_s = grown(sample, "machine.busy_s", before.busy_s, after.busy_s);
  const auto steal_s = grown(sample, "machine.steal_s", before.steal_s, after.steal_s);
  const auto throttled = grown(sample, "machine.throttle_events", before.throttle_events, after.throttle_events);
  grown(sample, "machine.cpu_pressure_s", before.cpu_pressure_s, after.cpu_pressure_s);
  grown(sample, "machine.memory_pressure_s", before.memory_pressure_s, after.memory_pressure_s);
  grown(sample, "machine.io_pressure_s", before.io_pressure_s, after.io_pressure_s);
  const auto quota_s = grown(sample, "machine.quota_throttled_s", before.quota_throttled_s, after.quota_throttled_s);
  if (throttled && *throttled > 0) sample.flags.push_back(fmt::format("throttled: the clock was lowered {:.0f} times by heat or power", *throttled));
  if (busy_s) {
    const double others_s = std::max(0.0, *busy_s - counter_or_0(sample, "process.user_s") - counter_or_0(sample, "process.system_s"));
    sample.counters["machine.others_s"] = others_s;
    if (others_s > kLeastSeen_s && others_s > kOtherWorkShare * room_s)
      sample.flags.push_back(fmt::format("interference: other programs computed {:.2f} s beside it", others_s));
  }
  if (steal_s && *steal_s > kLeastSeen_s && *steal_s > kStealShare * room_s)
    sample.flags.push_back(fmt::format("interference: the host took {:.2f} s of its cores", *steal_s));
  if (quota_s && *quota_s > kLeastSeen_s) sample.flags.push_back(fmt::format("quota: its threads were held back {:.2f} s by the cgroup", *quota_s));
}

bool varies_by_itself(const std::string& counter) {
  return counter.starts_with("perf.") || counter.starts_with("process.") || counter.starts_with("machine.");
}

}  // namespace crossover
