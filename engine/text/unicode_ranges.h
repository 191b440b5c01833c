// Character classes of Unicode 16.0, the version released tokenizers split with. The regular expression library has
// tables of its own, but their version is that of the machine, and a letter it does not know yet would split
// differently there.
#pragma once

#include <span>

namespace crossover {

struct CodeRange {
  char32_t first;
  char32_t last;  // inclusive
};

// Ascending, not touching.
std::span<const CodeRange> letter_ranges();  // L: 141,028 code points
std::span<const CodeRange> mark_ranges();    // M (Mn, Mc, Me): 2,501
std::span<const CodeRange> number_ranges();  // N (Nd, Nl, No): 1,911

}  // namespace crossover
