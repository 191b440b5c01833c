#include "bench/shipped_scenarios.h"

namespace crossover {

const ShippedScenario* find_shipped_scenario(std::string_view name) {
  for (const ShippedScenario& scenario : shipped_scenarios())
    if (name == scenario.name) return &scenario;
  return nullptr;
}

}  // namespace crossover
