#include "bench/noise/noise_store.h"

#include <fmt/format.h>
#include <sys/utsname.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "bench/build_info.h"
#include "bench/json_text.h"
#include "bench/machine/machine_id.h"
#include "bench/noise/noise_json.h"
#include "bench/result.h"
#include "bench/sample.h"
#include "bench/sha256.h"

namespace crossover {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kSchema = "crossover.noise/1";

json setting_of_a(const Scenario& scenario, std::size_t cell) {
  const ArmSettings& a = scenario.cells[cell].a;
  return {{"kind", scenario.kind}, {"workload", json::parse(a.workload)}, {"knobs", a.knobs}, {"program", a.program}};
}

fs::path file_of(const fs::path& folder, const Scenario& scenario, std::size_t cell) {
  return folder / fmt::format("{}-{}.json", scenario.name, sha256_text(setting_of_a(scenario, cell).dump()).substr(0, 12));
}

std::string kernel() {
  utsname name{};
  return uname(&name) == 0 ? name.release : "";
}

std::string build_name(const json& build) {
  return fmt::format("{}{}{}", build.value("version", ""), build.contains("commit") ? " " + build["commit"].get<std::string>().substr(0, 10) : "",
                     build.value("dirty", false) ? "+" : "");
}

CellNoise read_noise(const fs::path& file) {
  const json found = parse_json(read_text_file(file.string()), file.string());
  if (found.at("schema") != kSchema) throw std::runtime_error("its schema is another");
  CellNoise noise = noise_from_json(found.at("noise"));
  if (found.at("comparisons").get<int>() < kFewestComparisons) return {};
  noise.from = fmt::format("{} A/A comparisons of {} pairs on {}, {} of them with a false verdict", found.at("comparisons").get<int>(),
                           found.at("pairs").get<int>(), found.at("measured_at").get<std::string>().substr(0, 10),
                           found.at("false_verdicts").get<int>());
  if (const json build = json::parse(build_info_json()); found.at("build") != build)
    noise.from += fmt::format(", by another build ({})", build_name(found["build"]));
  if (const std::string then = found.at("kernel"); then != kernel()) noise.from += fmt::format(", under another kernel ({})", then);
  return noise;
}

}  // namespace

fs::path noise_folder() {
  const char *xdg = std::getenv("XDG_STATE_HOME"), *home = std::getenv("HOME");
  const bool state = xdg && *xdg == '/';  // the XDG rule: a relative value is to be ignored
  if (!state && (!home || !*home))
    throw std::runtime_error("asked for the noise floors of this machine, but neither XDG_STATE_HOME nor HOME is set; set one of them");
  return (state ? fs::path(xdg) : fs::path(home) / ".local" / "state") / "crossover" / "noise" / machine_id();
}

fs::path store_noise(const fs::path& folder, const Scenario& scenario, std::size_t cell, const NoiseMeasured& measured) {
  std::error_code failed;
  fs::create_directories(folder, failed);
  if (failed) throw std::runtime_error(fmt::format("cannot make the folder of noise floors {}: {}", folder.string(), failed.message()));
  const json out{{"schema", kSchema},
                 {"scenario", scenario.name},
                 {"cell", scenario.cells[cell].name},
                 {"a", setting_of_a(scenario, cell)},
                 {"measured_at", utc_now()},
                 {"build", json::parse(build_info_json())},
                 {"kernel", kernel()},
                 {"comparisons", measured.comparisons},
                 {"pairs", measured.pairs},
                 {"false_verdicts", measured.false_verdicts},
                 {"noise", noise_to_json(measured.noise)}};
  const fs::path file = file_of(folder, scenario, cell);
  write_whole_file(file, out.dump(1) + "\n");
  return file;
}

NoiseFloors stored_noise(const fs::path& folder, const Scenario& scenario, std::string* trouble) {
  NoiseFloors floors(scenario.cells.size());
  for (std::size_t cell = 0; cell < scenario.cells.size(); ++cell) {
    const fs::path file = file_of(folder, scenario, cell);
    std::error_code none;
    if (!fs::exists(file, none)) continue;
    try {
      floors[cell] = read_noise(file);
    } catch (const std::exception& error) {
      if (trouble) *trouble = fmt::format("the noise floor in {} cannot be used: {}; measure it again", file.string(), error.what());
    }
  }
  return floors;
}

}  // namespace crossover
