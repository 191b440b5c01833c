// Children and memory of processes, from /proc.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <vector>

namespace crossover {

std::vector<pid_t> children_of(pid_t pid);  // direct ones; empty where the kernel does not tell

// RssAnon + RssShmem of the process and all its descendants; absent when the process is gone.
std::optional<std::int64_t> resident_private_bytes(pid_t pid);

}  // namespace crossover
