#include "bench/process/process_identity.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <fstream>
#include <iterator>
#include <sstream>

namespace crossover {

namespace {

std::string boot_id() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string id;
  file >> id;
  return id;
}

// Field 22 of /proc/PID/stat, counted behind the name, which may hold anything; 0 when there is no such process.
std::int64_t started_ticks(pid_t pid) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const std::size_t behind_name = text.rfind(')');
  if (behind_name == std::string::npos) return 0;
  std::istringstream fields(text.substr(behind_name + 1));
  std::string skipped;
  for (int field = 3; field < 22; ++field) fields >> skipped;
  std::int64_t ticks = 0;
  fields >> ticks;
  return ticks;
}

}  // namespace

ProcessIdentity this_process() {
  std::array<char, 256> host{};
  gethostname(host.data(), host.size() - 1);
  return {getpid(), host.data(), boot_id(), started_ticks(getpid())};
}

bool is_running(const ProcessIdentity& process) {
  const ProcessIdentity here = this_process();
  if (process.pid <= 0 || process.host != here.host || process.boot_id != here.boot_id) return false;
  const std::int64_t ticks = started_ticks(process.pid);
  return ticks != 0 && ticks == process.started_ticks;
}

}  // namespace crossover
