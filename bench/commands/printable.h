// Messages quote what is in files, and a file may hold anything.
#pragma once

#include <string>
#include <string_view>

namespace crossover {

// The text on one line and harmless to a terminal: control characters as \n, \t or \x1b.
std::string printable(std::string_view text);

}  // namespace crossover
