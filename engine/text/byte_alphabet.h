// The characters byte-level vocabularies are written in: each byte has one printable character.
#pragma once

#include <array>
#include <string>
#include <string_view>

namespace crossover {

// UTF-8 of the character of each byte: printable Latin-1 as itself, the other 68 from U+0100 on, in order.
std::array<std::string, 256> byte_alphabet();

// The bytes of a token; a text with any character outside the alphabet stands for its own UTF-8.
std::string token_bytes(std::string_view text);

}  // namespace crossover
