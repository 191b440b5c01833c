#include "bench/journal.h"

#include "fuzz/fuzz_targets.h"
#include "fuzz/refusal.h"

namespace crossover::fuzz {

void journal(std::string_view input) {
  may_refuse([&] { parse_journal(input, "journal.jsonl"); });
}

}  // namespace crossover::fuzz
