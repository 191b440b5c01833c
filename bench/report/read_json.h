// Values of a file that somebody else wrote: what is missing, of another type or not finite is absent.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "bench/report/view.h"

namespace crossover::report {

using Json = nlohmann::ordered_json;

const Json& member(const Json& object, const char* key);  // null where there is none
std::string text_of(const Json& value);                   // strings as they are, null as "", all else as JSON
std::string text(const Json& object, const char* key);
std::optional<double> optional_number(const Json& value);
std::optional<double> number(const Json& object, const char* key);
long whole(const Json& object, const char* key);  // 0 where there is none
std::optional<Interval> interval(const Json& object, const char* key);

// Leaves of nested objects as "cpu.model"; arrays of plain values on one line.
void flatten(const Json& value, const std::string& name, std::vector<Fact>& facts);

// std::runtime_error: larger than `limit` bytes, nested too deep, too many fields in one object, no JSON. Leaves the values of `skipped`
// (a key at any depth) out; empty skips nothing.
Json parse_bounded(const std::filesystem::path& file, const std::string& skipped);

}  // namespace crossover::report
