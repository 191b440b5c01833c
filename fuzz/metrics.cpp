#include "bench/metric_text.h"

#include "fuzz/fuzz_targets.h"
#include "fuzz/refusal.h"

namespace crossover::fuzz {

void metrics(std::string_view input) {
  const std::size_t newline = input.find('\n');
  if (newline == std::string_view::npos) return;
  const std::string where(input.substr(0, newline)), printed(input.substr(newline + 1));
  may_refuse([&] { number_matching(where, printed); });
  may_refuse([&] {
    check_json_pointer(where);
    number_at(where, printed);
  });
}

}  // namespace crossover::fuzz
