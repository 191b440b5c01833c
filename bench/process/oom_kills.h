// Whether the kernel ran out of memory and killed for it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace crossover {

// How often the out-of-memory killer struck in our cgroup (memory.events), or on the whole machine where that is not told
// (/proc/vmstat); absent where neither is. `root` is "/" but in tests.
std::optional<std::int64_t> oom_kills(const std::filesystem::path& root = "/");

}  // namespace crossover
