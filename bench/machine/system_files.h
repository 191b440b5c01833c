// Small text files of /proc and /sys. What is not there is empty or absent.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>

namespace crossover {

std::string line_of(const std::filesystem::path& path);      // the first line
std::optional<double> number_of(const std::string& text);    // a finite number at its start

// "key<spaces>: value" lines; the first of each key.
std::map<std::string, std::string> colon_lines(const std::filesystem::path& path);

// The number after `key` and a space at the start of a line: "steal 12", "nr_throttled 3".
std::optional<double> keyed_number(const std::filesystem::path& path, const std::string& key);

// Cores' worth of time that the cgroup may use, by version 2 or 1, below a root folder; absent without a limit.
std::optional<double> cgroup_quota_cores(const std::filesystem::path& root);

std::string chosen_of(const std::string& line);  // "always [madvise] never" -> "madvise"; empty without brackets

}  // namespace crossover
