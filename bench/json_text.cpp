#include "bench/json_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>
#include <vector>

namespace crossover {

namespace {

using nlohmann::json;

// Position just after the comment or string that starts at `at`; `at` itself where none does.
std::size_t skip_opaque(std::string_view text, std::size_t at, bool comments) {
  if (text[at] == '"') {
    for (std::size_t i = at + 1; i < text.size(); ++i) {
      if (text[i] == '\\') ++i;
      else if (text[i] == '"') return i + 1;
    }
    return text.size();
  }
  if (!comments || text[at] != '/' || at + 1 >= text.size()) return at;
  const bool line = text[at + 1] == '/';
  if (!line && text[at + 1] != '*') return at;
  const std::size_t end = line ? text.find('\n', at) : text.find("*/", at + 2);
  return end == std::string_view::npos ? text.size() : end + (line ? 1 : 2);
}

void check_depth(std::string_view text, const std::string& what, bool comments) {
  int depth = 0;
  for (std::size_t i = 0; i < text.size();) {
    if (const std::size_t after = skip_opaque(text, i, comments); after != i) {
      i = after;
      continue;
    }
    if (text[i] == '[' || text[i] == '{') ++depth;
    if (text[i] == ']' || text[i] == '}') --depth;
    if (depth > kMaxJsonDepth)
      throw std::runtime_error(fmt::format("{} nests deeper than {} levels; it is not a file for crossover", what, kMaxJsonDepth));
    ++i;
  }
}

std::pair<std::size_t, std::size_t> line_and_column(std::string_view text, std::size_t byte) {
  const std::string_view before = text.substr(0, std::min(byte, text.size()));
  const std::size_t last = before.rfind('\n');
  const auto lines = static_cast<std::size_t>(std::count(before.begin(), before.end(), '\n'));
  return {lines + 1, before.size() - (last == std::string_view::npos ? 0 : last + 1)};
}

}  // namespace

json parse_json(std::string_view text, const std::string& what, bool comments) {
  check_depth(text, what, comments);
  std::vector<std::set<std::string>> fields;  // of the objects that are open
  const auto watch = [&](int, json::parse_event_t event, json& parsed) {
    if (event == json::parse_event_t::object_start) fields.emplace_back();
    if (event == json::parse_event_t::object_end) fields.pop_back();
    if (event == json::parse_event_t::key && !fields.back().insert(parsed.get<std::string>()).second)
      throw std::runtime_error(fmt::format("{} has the field {} twice in one object; keep one", what, parsed.dump()));
    return true;
  };
  try {
    return json::parse(text, watch, /*allow_exceptions=*/true, comments);
  } catch (const json::parse_error& error) {
    const auto [line, column] = line_and_column(text, error.byte);
    throw std::runtime_error(fmt::format("{} is not JSON: the error is at line {}, column {}", what, line, column));
  } catch (const json::exception&) {
    throw std::runtime_error(fmt::format("{} holds a number or a text that JSON does not allow", what));
  }
}

std::string read_text_file(const std::string& path, std::size_t max_bytes) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error(fmt::format("cannot read {}: {}", path, std::strerror(errno)));
  std::string text;
  std::vector<char> block(std::size_t{1} << 16);
  while (file.read(block.data(), static_cast<std::streamsize>(block.size())), file.gcount() > 0) {
    text.append(block.data(), static_cast<std::size_t>(file.gcount()));
    if (text.size() > max_bytes)
      throw std::runtime_error(fmt::format("{} is larger than {} bytes; it is not a file for crossover", path, max_bytes));
  }
  if (file.bad()) throw std::runtime_error(fmt::format("cannot read {}: {}", path, std::strerror(errno)));
  return text;
}

}  // namespace crossover
