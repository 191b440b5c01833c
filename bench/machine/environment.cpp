#include "bench/machine/environment.h"

#include <sched.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <sstream>

#include "bench/machine/perf_counters.h"
#include "bench/machine/system_files.h"

namespace crossover {

namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

void put_line(Json& object, const char* key, const fs::path& path) {
  if (const std::string line = line_of(path); !line.empty()) object[key] = line;
}

// What decides which kernels run, out of some hundred flags.
Json features(const std::string& flags) {
  static const std::set<std::string> kTold{"sse4_2",      "avx",         "avx2",        "fma",      "f16c",
                                           "bmi2",        "avx512f",     "avx512bw",    "avx512dq", "avx512vl",
                                           "avx512_vnni", "avx512_bf16", "avx512_fp16", "avx_vnni", "amx_tile",
                                           "amx_int8",    "amx_bf16"};
  Json found = Json::array();
  std::istringstream words(flags);
  for (std::string word; words >> word;)
    if (kTold.contains(word)) found.push_back(word);
  return found;
}

Json caches(const fs::path& cpu) {
  Json found = Json::object();
  for (int index = 0; index < 16; ++index) {
    const fs::path cache = cpu / "cache" / ("index" + std::to_string(index));
    const std::string level = line_of(cache / "level"), type = line_of(cache / "type"), size = line_of(cache / "size");
    if (level.empty() || size.empty() || type == "Instruction") continue;
    found["L" + level + (type == "Data" ? "d" : "")] = size;
  }
  return found;
}

Json cpu_json(const fs::path& root, const std::map<std::string, std::string>& info) {
  Json cpu = Json::object();
  if (const auto model = info.find("model name"); model != info.end()) cpu["model"] = model->second;
  if (const auto flags = info.find("flags"); flags != info.end()) cpu["features"] = features(flags->second);
  const fs::path cpu0 = root / "sys/devices/system/cpu/cpu0";
  put_line(cpu, "online", root / "sys/devices/system/cpu/online");
  put_line(cpu, "smt", root / "sys/devices/system/cpu/smt/control");
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) cpu["allowed_cores"] = CPU_COUNT(&allowed);
  if (const auto quota = cgroup_quota_cores(root)) cpu["cgroup_quota_cores"] = *quota;
  if (Json found = caches(cpu0); !found.empty()) cpu["caches"] = std::move(found);
  put_line(cpu, "governor", cpu0 / "cpufreq/scaling_governor");
  put_line(cpu, "clock_driver", cpu0 / "cpufreq/scaling_driver");
  if (const auto khz = number_of(line_of(cpu0 / "cpufreq/cpuinfo_max_freq"))) cpu["max_mhz"] = *khz / 1000;
  if (const std::string off = line_of(root / "sys/devices/system/cpu/intel_pstate/no_turbo"); !off.empty())
    cpu["turbo"] = off == "0";
  else if (const std::string boost = line_of(root / "sys/devices/system/cpu/cpufreq/boost"); !boost.empty())
    cpu["turbo"] = boost == "1";
  return cpu;
}

Json memory_json(const fs::path& root) {
  Json memory = Json::object();
  const auto info = colon_lines(root / "proc/meminfo");
  const auto put_kib = [&](const char* key, const char* name) {
    const auto found = info.find(name);
    if (found == info.end()) return;
    const auto kib = number_of(found->second);
    if (kib && *kib >= 0 && *kib < 1e15) memory[key] = static_cast<std::uint64_t>(*kib) * 1024;
  };
  put_kib("total_bytes", "MemTotal");
  put_kib("available_bytes", "MemAvailable");
  put_kib("swap_bytes", "SwapTotal");
  const std::string huge = chosen_of(line_of(root / "sys/kernel/mm/transparent_hugepage/enabled"));
  if (!huge.empty()) memory["transparent_huge_pages"] = huge;
  put_line(memory, "numa_nodes", root / "sys/devices/system/node/online");
  return memory;
}

Json virtualisation_json(const fs::path& root, const std::map<std::string, std::string>& cpu_info) {
  Json found = Json::object();
  const auto flags = cpu_info.find("flags");
  if (flags != cpu_info.end()) found["guest"] = (" " + flags->second + " ").find(" hypervisor ") != std::string::npos;
  put_line(found, "vendor", root / "sys/class/dmi/id/sys_vendor");
  put_line(found, "product", root / "sys/class/dmi/id/product_name");
  if (fs::exists(root / ".dockerenv"))
    found["container"] = "docker";
  else if (fs::exists(root / "run/.containerenv"))
    found["container"] = "podman";
  return found;
}

Json gpus_json(const fs::path& root) {
  Json gpus = Json::array();
  std::error_code none;
  for (auto it = fs::directory_iterator(root / "proc/driver/nvidia/gpus", none);
       !none && it != fs::directory_iterator(); it.increment(none)) {
    const auto info = colon_lines(it->path() / "information");
    if (const auto model = info.find("Model"); model != info.end())
      gpus.push_back({{"model", model->second}, {"bus", it->path().filename().string()}});
  }
  return gpus;
}

Json perf_json(const fs::path& root) {
  const PerfSupport support = perf_support(line_of(root / "proc/sys/kernel/perf_event_paranoid"));
  Json perf{{"counted", support.counted}};
  if (!support.missing.empty()) perf["missing"] = support.missing;
  if (support.user_only) perf["user_only"] = true;
  return perf;
}

// Of the hottest sensor; millidegrees in the files.
std::optional<double> temperature_c(const fs::path& root) {
  std::optional<double> hottest;
  std::error_code none;
  for (auto it = fs::directory_iterator(root / "sys/class/thermal", none); !none && it != fs::directory_iterator(); it.increment(none)) {
    const auto milli = number_of(line_of(it->path() / "temp"));
    if (milli && *milli > 0 && *milli < 2e5) hottest = std::max(hottest.value_or(0), *milli / 1000);
  }
  return hottest;
}

}  // namespace

std::string environment_json(const fs::path& root) {
  Json environment = Json::object();
  char host[256] = {};
  if (gethostname(host, sizeof host - 1) == 0) environment["host"] = host;
  const auto cpu_info = colon_lines(root / "proc/cpuinfo");
  environment["cpu"] = cpu_json(root, cpu_info);
  environment["memory"] = memory_json(root);
  utsname kernel;
  if (uname(&kernel) == 0)
    environment["kernel"] = std::string(kernel.sysname) + " " + kernel.release + " " + kernel.machine;
  environment["virtualisation"] = virtualisation_json(root, cpu_info);
  if (const auto load = number_of(line_of(root / "proc/loadavg"))) environment["load_before"] = *load;
  environment["perf"] = perf_json(root);
  if (Json gpus = gpus_json(root); !gpus.empty()) {
    environment["gpus"] = std::move(gpus);
    put_line(environment, "gpu_driver", root / "proc/driver/nvidia/version");
  }
  return environment.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string clocks_json(const fs::path& root) {
  Json clocks = Json::object(), mhz = Json::array();
  double throttled = 0;
  bool throttle_known = false;
  for (int core = 0; core < 1024; ++core) {
    const fs::path cpu = root / "sys/devices/system/cpu" / ("cpu" + std::to_string(core));
    if (!fs::exists(cpu)) break;
    if (const auto khz = number_of(line_of(cpu / "cpufreq/scaling_cur_freq"))) mhz.push_back(std::round(*khz / 1000));
    if (const auto count = number_of(line_of(cpu / "thermal_throttle/core_throttle_count")))
      throttled += *count, throttle_known = true;
  }
  if (!mhz.empty()) clocks["mhz"] = std::move(mhz);
  if (throttle_known) clocks["throttle_events"] = throttled;
  if (const auto hottest = temperature_c(root)) clocks["temperature_c"] = *hottest;
  if (const auto load = number_of(line_of(root / "proc/loadavg"))) clocks["load1"] = *load;
  return clocks.dump();
}

}  // namespace crossover
