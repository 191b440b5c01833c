#include "bench/plan_record.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <stdexcept>

#include "bench/json_text.h"
#include "bench/noise/noise_json.h"
#include "bench/result.h"

namespace crossover {

namespace {

using nlohmann::json;

constexpr const char* kSchema = "crossover.plan/1";

std::filesystem::path record_path(const std::filesystem::path& folder) { return folder / "plan.json"; }

}  // namespace

void write_plan_record(const std::filesystem::path& folder, const std::string& plan_hash, const PlanRecord& record) {
  json out{{"schema", kSchema}, {"plan_hash", plan_hash}, {"noise", json::array()}};
  if (record.extends) out["extends"] = {{"hash", record.extends->plan_hash}, {"pairs", record.extends->pairs}};
  for (const CellNoise& cell : record.noise) out["noise"].push_back(noise_to_json(cell));
  write_whole_file(record_path(folder), out.dump(1) + "\n");
}

std::optional<PlanRecord> read_plan_record(const std::filesystem::path& folder) {
  const std::string path = record_path(folder).string();
  if (!std::filesystem::exists(path)) return std::nullopt;
  const json found = parse_json(read_text_file(path), path);
  try {
    if (found.at("schema") != kSchema) throw std::runtime_error("its schema is another");
    PlanRecord record;
    if (found.contains("extends")) record.extends = ExtendedPlan{found["extends"].at("hash"), found["extends"].at("pairs")};
    for (const json& cell : found.at("noise")) record.noise.push_back(noise_from_json(cell));
    return record;
  } catch (const std::exception& error) {
    throw std::runtime_error(fmt::format("{} is no plan of crossover ({}); choose another --out", path, error.what()));
  }
}

}  // namespace crossover
