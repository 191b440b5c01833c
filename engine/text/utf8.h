// UTF-8 as the Unicode standard repairs it: each maximal invalid part becomes one U+FFFD.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace crossover {

struct Utf8Step {
  enum class Kind { kCharacter, kInvalid, kIncomplete };  // incomplete: more bytes could still make it a character
  Kind kind;
  std::size_t size_bytes;
};

// What the text begins with; the text is not empty.
Utf8Step next_utf8(std::string_view text);

bool is_ascii(std::string_view text);

std::string repair_utf8(std::string_view text);

// Moves what can be decided of `pending` to the result, repaired; an incomplete character at its end stays.
std::string take_complete_utf8(std::string& pending);

}  // namespace crossover
