#include "engine/tokenizer.h"

#include <algorithm>
#include <cstdlib>
#include <string>

#include "fuzz/fuzz_targets.h"
#include "fuzz/refusal.h"

namespace crossover::fuzz {

void tokenizer(std::string_view input) {
  const std::size_t zero = std::min(input.find('\0'), input.size());
  may_refuse([&] {
    const Tokenizer tokenizer = Tokenizer::from_json(input.substr(0, zero));
    const std::string_view text = zero < input.size() ? input.substr(zero + 1) : "a text, 12 \xc3\xa9\xe2\x82\xac";
    const std::vector<std::int32_t> ids = tokenizer.encode(text);
    for (const std::int32_t id : ids)
      if (id < 0 || id >= tokenizer.vocab_size()) std::abort();
    const std::string once = tokenizer.decode(ids, /*skip_special=*/false);
    StreamDecoder stream(tokenizer, /*skip_special=*/false);
    std::string joined;
    for (const std::int32_t id : ids) joined += stream.push(id);
    if (joined + stream.finish() != once) std::abort();
  });
}

}  // namespace crossover::fuzz
