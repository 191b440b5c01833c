// Any program as an arm: a command, what it prints, and how long it took.
#pragma once

#include <memory>

#include "bench/targets/target.h"

namespace crossover {

std::unique_ptr<Target> make_external_target();

}  // namespace crossover
