// DIR/plan.json: what a run knew when its first sample was taken and must not learn anew when it is resumed.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "bench/noise/noise_floor.h"
#include "bench/plan.h"

namespace crossover {

struct PlanRecord {
  std::optional<ExtendedPlan> extends;
  NoiseFloors noise;  // a floor measured between two halves of a run would change the rule under the samples
};

void write_plan_record(const std::filesystem::path& folder, const std::string& plan_hash, const PlanRecord& record);

// Absent where the folder has none. std::runtime_error for one that is damaged.
std::optional<PlanRecord> read_plan_record(const std::filesystem::path& folder);

}  // namespace crossover
