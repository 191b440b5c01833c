// What CUPTI saw, as the result file has it.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "bench/profile/activity.h"

namespace crossover::cupti {

// "rms_norm<4>" of "_ZN9crossover4cuda12_GLOBAL__N_18rms_normILi4EEEvPKf": without arguments, our own namespaces and `void`.
std::string short_name(const std::string& mangled);

// Kernels by name, phase and shape with their launches, times and resources, those that took longest first, at most 200; phases with their
// kernels; copies with bytes per second; overheads; and, from begin_s (monotonic clock) on, one row of spans for every stream, at most 20,000
// in all. What is left out is counted. `launches` is what the engine counted itself.
nlohmann::json activity_json(const Activity& activity, std::int64_t launches, double begin_s);

std::string kernel_path(const Activity& activity);  // distinct short names, sorted, joined by '+'

}  // namespace crossover::cupti
