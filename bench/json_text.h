// Reading JSON that somebody else wrote: nesting is bounded before the parser recurses, a field given twice is an error.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace crossover {

inline constexpr int kMaxJsonDepth = 64;

// `what` names the text in messages ("scenario x.json"). std::runtime_error: nested deeper than kMaxJsonDepth, no JSON (line and
// column), or a field twice in one object. Comments (// and /* */) are allowed where asked.
nlohmann::json parse_json(std::string_view text, const std::string& what, bool comments = false);

std::string read_text_file(const std::string& path, std::size_t max_bytes = std::size_t{64} << 20);  // std::runtime_error

}  // namespace crossover
