#pragma once

#include <string>
#include <string_view>

namespace crossover {

// Normalization form C of valid UTF-8, in time n log n also for long runs of combining marks.
// Characters newer than the utf8proc library (2.8: Unicode 15.0, as the reference tokenizer's own tables) stay as they
// are.
std::string normalize_nfc(std::string_view text);

}  // namespace crossover
