#include "bench/process/oom_kills.h"

#include <fstream>

namespace crossover {

namespace {

// "NAME VALUE" lines.
std::optional<std::int64_t> value_in(const std::filesystem::path& file, const std::string& wanted) {
  std::ifstream lines(file);
  std::string name;
  for (std::int64_t value = 0; lines >> name >> value;)
    if (name == wanted) return value;
  return std::nullopt;
}

}  // namespace

std::optional<std::int64_t> oom_kills(const std::filesystem::path& root) {
  std::ifstream groups(root / "proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    if (!line.starts_with("0::/")) continue;  // of version 2
    if (const auto kills = value_in(root / "sys/fs/cgroup" / line.substr(4) / "memory.events", "oom_kill")) return kills;
  }
  return value_in(root / "proc/vmstat", "oom_kill");
}

}  // namespace crossover
