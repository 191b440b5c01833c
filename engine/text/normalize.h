#pragma once

#include <string>
#include <string_view>

namespace crossover {

// Normalization form C of valid UTF-8, in time n log n also for long runs of combining marks.
// By the tables of Unicode 9.0, which the reference tokenizer normalizes with: characters added later stay where they
// are.
std::string normalize_nfc(std::string_view text);

}  // namespace crossover
