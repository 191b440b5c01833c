// A small process between the harness and what it measures. The processes below it cannot get out of its reach: it adopts what loses
// its parent, and ends all of them when the program ends or when the harness is gone, by whatever signal.
#pragma once

#include <sched.h>
#include <sys/resource.h>
#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "bench/process/descriptor.h"

namespace crossover {

// Everything the program needs, made before the fork: between fork and exec only async-signal-safe calls are allowed.
struct Launch {
  std::string program, folder;
  std::vector<char*> argv, environment;
  Descriptor input, result;
  DescriptorPair output, error;
  DescriptorPair go;       // the program is not entered before a byte comes
  DescriptorPair trouble;  // a Trouble comes out when the exec did not happen
  cpu_set_t cpus;
  bool pinned;
  int priority;
};

struct Trouble {
  int step, error;  // step: see trouble_text
};
const char* trouble_text(int step);

// What the supervisor writes to its line. It reads bytes from it: signals to send to the group of the program, with kLeaderOnly to
// the program alone. The end of the line is the end of the harness.
struct Report {
  pid_t pid = 0;           // of the program; -errno where there is none
  bool ended = false;      // the rest is of its end
  int status = 0;          // as of wait(2)
  double ended_s = 0;      // CLOCK_MONOTONIC
  rusage usage{};
};

inline constexpr std::uint8_t kLeaderOnly = 0x80;
inline constexpr std::uint8_t kLookedAt = 0;  // no signal: the number of the program may become free once it has ended

// Forks the program, and returns to nobody.
[[noreturn]] void supervise(const Launch& launch, int line);

}  // namespace crossover
