// Numbers in what a program prints.
#pragma once

#include <string>

namespace crossover {

// At a JSON pointer of a text that is JSON as a whole; a string there that is a number counts as one. std::runtime_error says what was
// found instead.
double number_at(const std::string& pointer, const std::string& text);

// The first group of the last match (bench/regex.h). std::runtime_error where nothing matches or the match is no finite number.
double number_matching(const std::string& pattern, const std::string& text);

// std::invalid_argument when it is no JSON pointer.
void check_json_pointer(const std::string& pointer);

}  // namespace crossover
