// Takes what must not be published out of a result.
#pragma once

#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace crossover::report {

// The host's name becomes a hash of the machine ("machine-1a2b3c4d", of its name, CPU and memory; also inside text and, as
// "environment.machine", for telling machines apart), hosts of addresses "host", absolute paths and paths from a home folder their last
// component, wherever they stand: values, keys and the middle of a message. JSON pointers of the scenario stay.
void strip_private(nlohmann::ordered_json& result);

// A stripped result on one line, to be kept beside what cites it. Timelines are left out, phases that the primary metric is not made of
// ("prefill.*" of a load; their times are metrics as well), and rows of logits but those where the outputs of a pair first part. What is
// still above kKeptBytes loses more, in this order, until it fits: series, phases, counters, knobs, output tokens of samples, metrics of
// single phases. "thinned" lists it.
std::string kept_copy(nlohmann::ordered_json result);

inline constexpr std::size_t kKeptBytes = 900'000;

}  // namespace crossover::report
