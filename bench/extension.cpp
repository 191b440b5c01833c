#include "bench/extension.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "bench/json_text.h"

namespace crossover {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::size_t kMaxResultBytes = std::size_t{1} << 30;

// Without what says how many pairs.
json question_of(json scenario) {
  if (scenario.contains("plan") && scenario["plan"].is_object()) scenario["plan"].erase("pairs"), scenario["plan"].erase("looks");
  return scenario;
}

// The plan in the folder's result where it asked the same, with any number of pairs; an empty hash where not.
ExtendedPlan same_question(const json& question, const fs::path& folder) {
  std::error_code none;
  const fs::path file = folder / "result.json";
  if (!fs::is_regular_file(file, none)) return {};
  try {
    const json result = parse_json(read_text_file(file.string(), kMaxResultBytes), file.string());
    if (question_of(result.at("scenario")) != question) return {};
    return {result.at("plan").at("hash"), result.at("plan").at("pairs")};
  } catch (const std::exception&) {
    return {};  // not for us to complain about: it is another run's
  }
}

}  // namespace

std::optional<ExtendedPlan> extended_plan(const Scenario& scenario, const fs::path& folder) {
  if (scenario.looks.size() > 1) return std::nullopt;
  const ExtendedPlan earlier = same_question(question_of(json::parse(scenario.json)), folder);
  if (earlier.plan_hash.empty() || earlier.pairs >= scenario.pairs) return std::nullopt;
  return earlier;
}

std::optional<ExtendedPlan> newest_extended_plan(const Scenario& scenario, const fs::path& parent) {
  std::vector<fs::path> folders;
  std::error_code none;
  for (fs::directory_iterator it(parent, none); !none && it != fs::directory_iterator(); it.increment(none)) folders.push_back(it->path());
  std::sort(folders.rbegin(), folders.rend());
  const json question = question_of(json::parse(scenario.json));
  for (const fs::path& folder : folders)
    if (!same_question(question, folder).plan_hash.empty()) return extended_plan(scenario, folder);
  return std::nullopt;
}

}  // namespace crossover
