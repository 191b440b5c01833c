// Which process, beyond its number: numbers are used again, and a folder may be shared between machines.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

namespace crossover {

struct ProcessIdentity {
  pid_t pid = 0;
  std::string host, boot_id;        // boot_id: of the running kernel; empty where it does not tell
  std::int64_t started_ticks = 0;   // since the boot, in clock ticks

  bool operator==(const ProcessIdentity&) const = default;
};

ProcessIdentity this_process();

// Whether it lives on this machine still; false for a process of another machine.
bool is_running(const ProcessIdentity& process);

}  // namespace crossover
