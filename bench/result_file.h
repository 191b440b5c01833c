// Reading a result file that somebody else wrote: sizes and nesting are bounded, the schema is known, the parts that every reader
// relies on are there. What is inside them each reader checks for itself.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace crossover {

// A line for a person about a file that was refused: what a parser quotes of it is cut and kept printable. `asked` is the verb:
// "cannot report FILE: WHY; give a result.json of crossover run".
std::string refused_result(const std::string& asked, const std::filesystem::path& file, const std::string& why);

// The file as JSON, fields in its order, those named `skipped` left out. std::runtime_error (refused_result): it cannot be read, is too
// large, nests too deep, is no JSON, or is no result of this program or of an older version of it.
nlohmann::ordered_json read_result(const std::filesystem::path& file, const std::string& asked, const std::string& skipped = "");

}  // namespace crossover
