#include "bench/process/child_environment.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>

#include "engine/knobs.h"

namespace crossover {

namespace {

constexpr const char* kPadding = "_CROSSOVER_PAD";  // not CROSSOVER_*, which are knobs

std::set<std::string> knobs_set_by(const Scenario& scenario) {
  std::set<std::string> names;
  for (const Cell& cell : scenario.cells)
    for (const ArmSettings* arm : {&cell.a, &cell.b})
      for (const auto& [name, value] : arm->knobs) names.insert(name);
  return names;
}

std::size_t bytes_of(const std::vector<std::string>& block) {
  std::size_t bytes = 0;
  for (const std::string& entry : block) bytes += entry.size() + 1;
  return bytes;
}

std::vector<std::string> block_of(const ArmSettings& arm, const PlannedSample& sample, const std::string& nonce,
                                  const AmbientEnvironment& ambient) {
  std::map<std::string, std::string> variables;
  for (const std::string& entry : ambient.kept) variables[entry.substr(0, entry.find('='))] = entry.substr(entry.find('=') + 1);
  const nlohmann::json workload = nlohmann::json::parse(arm.workload);
  if (const auto env = workload.find("env"); env != workload.end())
    for (const auto& [name, value] : env->items()) {
      if (name.empty() || name.find('=') != std::string::npos || name.find('\0') != std::string::npos)
        throw std::invalid_argument(fmt::format("'{}' in env is no name of an environment variable", name));
      if (find_knob(name)) throw std::invalid_argument(fmt::format("{} in env is a knob; put it under the arm's knobs", name));
      variables[name] = fill_placeholders(value.get<std::string>(), sample.arm, sample.position, nonce);
    }
  for (const auto& [name, value] : arm.knobs) variables[name] = value;
  std::vector<std::string> block;
  for (const auto& [name, value] : variables) block.push_back(name + "=" + value);
  return block;
}

}  // namespace

AmbientEnvironment split_environment(char* const* block, const Scenario& scenario, bool inherit) {
  AmbientEnvironment out;
  const std::set<std::string> ours = knobs_set_by(scenario);
  Knobs registry;
  for (; block && *block; ++block) {
    const std::string entry = *block;
    const std::string name = entry.substr(0, entry.find('='));
    if (entry.find('=') == std::string::npos || name.empty() || name.starts_with(kPadding)) continue;
    if (!name.starts_with("CROSSOVER_")) {
      out.kept.push_back(entry);
      continue;
    }
    if (ours.contains(name))
      throw std::invalid_argument(
          fmt::format("{} is set in the environment and by the scenario; unset the variable, the arms decide", name));
    if (inherit && find_knob(name)) {
      registry.set(name, entry.substr(name.size() + 1), "env");
      out.kept.push_back(entry);
    } else {
      out.dropped.push_back(name);
    }
  }
  return out;
}

std::string fill_placeholders(std::string text, char arm, int position, const std::string& nonce) {
  const std::pair<std::string, std::string> kValues[] = {
      {"{arm}", std::string(1, arm)}, {"{sample}", fmt::format("{}", position)}, {"{nonce}", nonce}};
  for (const auto& [placeholder, value] : kValues)
    for (std::size_t at = text.find(placeholder); at != std::string::npos; at = text.find(placeholder, at + value.size()))
      text.replace(at, placeholder.size(), value);
  return text;
}

std::vector<std::vector<std::string>> sample_environments(const Scenario& scenario, const Plan& plan, const AmbientEnvironment& ambient) {
  std::vector<std::vector<std::string>> blocks;
  std::size_t entries = 0, bytes = 0;
  for (const PlannedSample& sample : plan.samples) {
    const ArmSettings& arm = scenario.cells[static_cast<std::size_t>(sample.cell)].arm(sample.arm);
    blocks.push_back(block_of(arm, sample, nonce_of(plan, sample), ambient));
    entries = std::max(entries, blocks.back().size());
  }
  for (auto& block : blocks) {
    for (int i = 0; block.size() <= entries; ++i) block.push_back(fmt::format("{}{}=", kPadding, i));
    bytes = std::max(bytes, bytes_of(block));
  }
  for (auto& block : blocks) block.back() += std::string(bytes - bytes_of(block), 'x');
  return blocks;
}

}  // namespace crossover
