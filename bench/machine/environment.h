// The machine as a result file records it.
#pragma once

#include <filesystem>
#include <string>

namespace crossover {

// A JSON object: host, cpu {model, features, allowed_cores, cgroup_quota_cores, caches, governor, max_mhz, turbo},
// memory, kernel, virtualisation, load_before, perf {counted, missing {name: why}, user_only}, gpus and gpu_driver. What the machine does not tell is absent, never 0.
// Files of /proc and /sys are read below `root`; host, kernel, allowed cores and perf come from the running system.
std::string environment_json(const std::filesystem::path& root = "/");

// What can change from one sample to the next, a JSON object: mhz [per core], throttle_events (summed over cores),
// temperature_c (of the hottest sensor), load1.
std::string clocks_json(const std::filesystem::path& root = "/");

}  // namespace crossover
