#include "bench/history/both_builds.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string_view>

namespace crossover {

namespace {

using nlohmann::json;

json scenario_of(const nlohmann::ordered_json& result) {
  if (!result.contains("scenario") || !result["scenario"].is_object() || !result["scenario"].contains("workload"))
    throw std::runtime_error("the result of NEW has no scenario to run again");
  return json(result["scenario"]);
}

// A sweep over the arm is one over both; over the other arm it changes nothing any more.
void keep_sweeps_of(json& scenario, const std::string& arm) {
  if (!scenario.contains("sweep") || !scenario["sweep"].is_object()) return;
  json kept = json::object();
  const std::string own = "/arms/" + arm + "/", other = arm == "A" ? "/arms/B/" : "/arms/A/";
  for (const auto& [where, values] : scenario["sweep"].items()) {
    if (where.starts_with(own)) kept["/arms/*/" + where.substr(own.size())] = values;
    else if (!where.starts_with(other)) kept[where] = values;
  }
  scenario["sweep"] = kept;
  if (kept.empty()) scenario.erase("sweep");
}

void keep_expectations_of(json& scenario, const std::string& arm) {
  if (!scenario.contains("expect") || !scenario["expect"].is_object()) return;
  json& expect = scenario["expect"];
  expect["differs"] = json::array();  // two builds need not differ in what the arms of the question had to
  if (!expect.contains("path") || !expect["path"].is_object()) return;
  json paths = json::object();
  for (const auto& [name, value] : expect["path"].items()) {
    if (name.starts_with(arm + ".")) paths[name.substr(2)] = value;
    else if (!name.starts_with("A.") && !name.starts_with("B.")) paths[name] = value;
  }
  expect["path"] = paths;
}

std::string file_name_of(const std::string& label) {
  std::string name = label;
  std::replace_if(name.begin(), name.end(), [](unsigned char c) { return !std::isalnum(c) && c != '-' && c != '.' && c != '_'; }, '_');
  return name;
}

std::string arm_option(const json& workload, const char* arm, const std::string& build) {
  const std::string kind = workload.value("kind", "");
  if (kind == "endpoint") return shell_word(fmt::format("/arms/{}/workload/url=http://HOST-OF-{}/", arm, build));
  if (kind != "external") return shell_word(fmt::format("/arms/{}/program=/PATH/OF/{}/crossover", arm, build));
  json command = workload.value("command", json::array());
  if (!command.is_array() || command.empty()) command = json::array({""});
  const std::string program = command[0].is_string() ? command[0].get<std::string>() : "";
  command[0] = fmt::format("/PATH/OF/{}/{}", build, program.substr(program.rfind('/') == std::string::npos ? 0 : program.rfind('/') + 1));
  return shell_word(fmt::format("/arms/{}/workload/command={}", arm, command.dump(-1, ' ', true)));
}

}  // namespace

std::string shell_word(const std::string& text) {
  const bool plain = !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return std::isalnum(c) || std::string_view("-_./:=,+@%").find(static_cast<char>(c)) != std::string_view::npos;
  });
  if (plain) return text;
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

std::string both_builds_scenario(const nlohmann::ordered_json& result, const std::string& arm) {
  json scenario = scenario_of(result);
  json settings = json::object();
  if (scenario.contains("arms") && scenario["arms"].contains(arm)) settings = scenario["arms"][arm];
  settings.erase("program");
  scenario["arms"] = {{"A", settings}, {"B", settings}};
  scenario["question"] = "Is the newer build faster or slower than the older one, both in one plan?";
  keep_sweeps_of(scenario, arm);
  keep_expectations_of(scenario, arm);
  return scenario.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

std::string both_builds_command(const nlohmann::ordered_json& result, const std::string& file, const std::string& base_label,
                                const std::string& next_label) {
  const json workload = scenario_of(result)["workload"];
  const bool alike = file_name_of(base_label) == file_name_of(next_label);
  return fmt::format("crossover run {} --set {} --set {}", shell_word(file), arm_option(workload, "A", alike ? "BASE" : file_name_of(base_label)),
                     arm_option(workload, "B", alike ? "NEW" : file_name_of(next_label)));
}

}  // namespace crossover
