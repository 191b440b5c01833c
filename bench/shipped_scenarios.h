// The scenario files of scenarios/, embedded at build time so that `list` and `run NAME` work without the source tree.
#pragma once

#include <span>
#include <string_view>

namespace crossover {

struct ShippedScenario {
  const char* name;  // "cold_load_isq"
  const char* text;  // the file, JSON with comments
};

std::span<const ShippedScenario> shipped_scenarios();  // by name; without schema.json
const ShippedScenario* find_shipped_scenario(std::string_view name);

}  // namespace crossover
