#include "bench/scenario.h"

#include <string>

#include "bench/plan.h"
#include "fuzz/fuzz_targets.h"
#include "fuzz/refusal.h"

namespace crossover::fuzz {

void scenario(std::string_view input) {
  may_refuse([&] { make_plan(parse_scenario(std::string(input), "scenario.json")); });
}

}  // namespace crossover::fuzz
