// The folder of prepared models and quantized files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "engine/knobs.h"

namespace crossover {

// `configured` (the knob CROSSOVER_CACHE_DIR) where it is not empty, else $XDG_CACHE_HOME/crossover, else
// ~/.cache/crossover.
std::filesystem::path cache_folder(const std::string& configured);

struct CacheEntry {
  std::filesystem::path path;  // a file or a folder directly inside the cache folder
  std::uintmax_t bytes;        // of all regular files in it
};

// Makes the folder where it is missing. A new or empty one gets the tag file that backup programs look for
// (CACHEDIR.TAG), which is also the proof that everything in it is ours.
void make_cache_folder(const std::filesystem::path& folder);

// Where a load with these knobs keeps what it quantizes, made if it is missing and can be (a load does not fail for it: it says what
// is wrong with the folder); empty unless CROSSOVER_QUANT_CACHE=folder.
std::filesystem::path quantized_folder(const Knobs& knobs);

std::vector<CacheEntry> cache_entries(
    const std::filesystem::path& folder);  // by name; none where the folder does not exist

// Removes every entry and returns what went. std::runtime_error for a folder with entries and without our tag: it may
// be someone's own.
std::vector<CacheEntry> clear_cache(const std::filesystem::path& folder);

}  // namespace crossover
