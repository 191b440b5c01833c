#include "bench/process/process_tree.h"

#include <fmt/format.h>

#include <charconv>
#include <filesystem>
#include <fstream>
#include <string>

namespace crossover {

namespace {

std::optional<std::int64_t> own_bytes(pid_t pid) {
  std::ifstream status(fmt::format("/proc/{}/status", pid));
  std::optional<std::int64_t> sum_bytes;
  for (std::string line; std::getline(status, line);) {
    if (!line.starts_with("RssAnon:") && !line.starts_with("RssShmem:")) continue;
    const std::size_t digit = line.find_first_of("0123456789");
    std::int64_t kib = 0;
    if (digit == std::string::npos) continue;
    std::from_chars(line.data() + digit, line.data() + line.size(), kib);
    sum_bytes = sum_bytes.value_or(0) + kib * 1024;
  }
  return sum_bytes;
}

}  // namespace

std::vector<pid_t> children_of(pid_t pid) {
  std::vector<pid_t> children;
  std::error_code gone;
  std::filesystem::directory_iterator task(fmt::format("/proc/{}/task", pid), gone);
  for (; !gone && task != std::filesystem::directory_iterator(); task.increment(gone)) {
    std::ifstream list(task->path() / "children");
    for (pid_t child = 0; list >> child;) children.push_back(child);
  }
  return children;
}

std::optional<std::int64_t> resident_private_bytes(pid_t pid) {
  std::optional<std::int64_t> sum_bytes = own_bytes(pid);
  if (!sum_bytes) return sum_bytes;
  std::vector<pid_t> open = children_of(pid);
  while (!open.empty()) {
    const pid_t next = open.back();
    open.pop_back();
    *sum_bytes += own_bytes(next).value_or(0);
    for (const pid_t child : children_of(next)) open.push_back(child);
  }
  return sum_bytes;
}

}  // namespace crossover
