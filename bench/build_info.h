#pragma once

#include <string>

namespace crossover {

// How this binary was made: {"version", "commit", "dirty", "compiler", "flags", "build_type", "libraries": {...}}; a JSON object. The
// commit is absent for a build outside a checkout.
std::string build_info_json();

}  // namespace crossover
