// Takes what must not be published out of a result.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace crossover::report {

// Host names become "host" (also inside text and in addresses), absolute paths and paths from a home folder their last
// component, wherever they stand: values, keys and the middle of a message. JSON pointers of the scenario stay.
void strip_private(nlohmann::ordered_json& result);

// A stripped result on one line, to be kept beside what cites it: everything that a verdict is made from. Timelines are left out, and
// phases that the primary metric is not made of ("prefill.*" of a load); their times are metrics as well.
std::string kept_copy(nlohmann::ordered_json result);

}  // namespace crossover::report
