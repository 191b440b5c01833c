// Whether cold and warm samples are possible in a folder.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace crossover {

struct PageCacheCheck {
  std::string trouble;  // what did not work; empty when everything did
  std::optional<double> uncached_read_bytes_per_s;
};

// Writes a file of 8 MiB into the folder (made where missing), evicts it, times a read, brings it back in, and looks
// each time at how much of it is in memory. Removes it.
PageCacheCheck check_page_cache(const std::filesystem::path& folder);

}  // namespace crossover
