// Whether cold and warm samples are possible in a folder.
#pragma once

#include <filesystem>
#include <string>

namespace crossover {

// Writes a file of 8 MiB into the folder (made where missing), evicts it, reads it back and looks each time at how much
// of it is in memory; removes it. Empty when both worked, else what did not.
std::string page_cache_trouble(const std::filesystem::path& folder);

}  // namespace crossover
