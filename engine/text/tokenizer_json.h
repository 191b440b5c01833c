// tokenizer.json as data: read, checked, and reduced to what a byte-level BPE tokenizer of these models can need.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/tokenizer.h"

namespace crossover {

struct TokenizerData {
  bool nfc = false;
  std::string split_pattern;
  std::vector<std::pair<std::string, std::int32_t>> vocab;  // text in the byte-to-character alphabet, id
  std::vector<std::pair<std::string, std::string>> merges;  // by rank
  std::vector<AddedToken> added;
};

// std::runtime_error with the key and what was found there for anything that is missing, of the wrong type, or that
// this tokenizer would silently do differently from the reference.
TokenizerData parse_tokenizer_json(std::string_view text);

}  // namespace crossover
