// A result file for the tests of reports and exports.
#pragma once

#include <nlohmann/json.hpp>

namespace crossover {

using nlohmann::ordered_json;

// Sixteen samples, B 10 % faster; every optional part of a result file is there.
ordered_json sample_result();

}  // namespace crossover
