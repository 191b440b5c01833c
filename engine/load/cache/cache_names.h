// Names of quantized cache files: "<model>-<type>-<16 hex digits>.gguf", and with ".part" behind it while it is written.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "engine/load/cache/cache_header.h"

namespace crossover {

inline constexpr std::string_view kCacheSuffix = ".gguf", kCachePartSuffix = ".gguf.part";

std::string cache_prefix(const CacheKey& key);  // what all files of a model and type begin with
std::string cache_name(const CacheKey& key);

// Files in `folder` that are named so, by name; none when it cannot be read.
std::vector<std::filesystem::path> find_cache_names(const std::filesystem::path& folder, std::string_view prefix,
                                                    std::string_view suffix);

}  // namespace crossover
