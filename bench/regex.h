#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace crossover {

// The first group (the whole match where there is none) of the last match of a PCRE2 pattern. std::invalid_argument for a pattern
// that does not compile; std::runtime_error where matching needs more steps or memory than is sane.
std::optional<std::string> last_match(const std::string& pattern, std::string_view text);

void check_pattern(const std::string& pattern);  // compiles it only

}  // namespace crossover
