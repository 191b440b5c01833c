#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "bench/commands/commands.h"
#include "bench/shipped_scenarios.h"

namespace crossover::commands {

void add_list(Command app, int&) {
  const Command list = app.add_subcommand("list", "The scenarios shipped, one line each: name and question");
  list.footer("Example: crossover list && crossover run demo_decode");
  list.callback([] {
    std::size_t width = 0;
    for (const ShippedScenario& scenario : shipped_scenarios())
      width = std::max(width, std::string_view(scenario.name).size());
    for (const ShippedScenario& scenario : shipped_scenarios()) {
      const auto file = nlohmann::json::parse(scenario.text, nullptr, true, /*ignore_comments=*/true);
      fmt::print("{:{}}  {}\n", scenario.name, width, file.at("question").get<std::string>());
    }
  });
}

}  // namespace crossover::commands
