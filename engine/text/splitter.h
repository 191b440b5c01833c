// The first cut of a text into pieces, inside which tokens are merged.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace crossover {

// The one with marks is Qwen3.5's.
std::string_view split_pattern(bool marks);

// Compiled once, usable from several threads.
class Splitter {
 public:
  // `pattern` as written in tokenizer.json: that of Qwen3.5/3.6 (letters and marks form words) or of Qwen2/Qwen3-Next
  // (letters only). Any other is a std::runtime_error that names it, since near matches split almost everything alike.
  explicit Splitter(std::string_view pattern);

  // Views into `text` (valid UTF-8), in order, covering all of it.
  std::vector<std::string_view> split(std::string_view text) const;

 private:
  std::shared_ptr<const void> code_;  // pcre2_code
};

}  // namespace crossover
