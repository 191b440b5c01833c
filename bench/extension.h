// A run with more pairs than its plan had declared, begun when that plan's result was known.
#pragma once

#include <filesystem>
#include <optional>

#include "bench/plan.h"

namespace crossover {

// The plan whose result lies in `folder`, where it asked the same with fewer pairs and `scenario` declares no looks: what it found may
// be why there are more now. Absent otherwise, and for a folder without a readable result.
std::optional<ExtendedPlan> extended_plan(const Scenario& scenario, const std::filesystem::path& folder);

// The same of the newest run below `parent` that asked the same, judging by the names of the folders.
std::optional<ExtendedPlan> newest_extended_plan(const Scenario& scenario, const std::filesystem::path& parent);

}  // namespace crossover
