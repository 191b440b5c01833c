// The machine as a result file records it.
#pragma once

#include <string>

namespace crossover {

// A JSON object: host, cpu {model, features, cores, allowed, quota, caches, clocks, governor}, memory, kernel, virtualisation,
// transparent huge pages, load, gpus where there are any. What the machine does not tell is absent, never 0.
std::string environment_json();

// What can change from one sample to the next: {"mhz": [...], "throttle_events": N, "load1": X}; a JSON object.
std::string clocks_json();

}  // namespace crossover
