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

std::string chosen_of(const std::string& line);  // "always [madvise] never" -> "madvise"; empty without brackets

}  // namespace crossover
