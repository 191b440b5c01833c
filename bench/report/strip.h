// Takes what must not be published out of a result.
#pragma once

#include <nlohmann/json_fwd.hpp>

namespace crossover::report {

// Host names become "host" (also inside text and in addresses), absolute paths and paths from a home folder their last
// component, wherever they stand: values, keys and the middle of a message. JSON pointers of the scenario stay.
void strip_private(nlohmann::ordered_json& result);

}  // namespace crossover::report
