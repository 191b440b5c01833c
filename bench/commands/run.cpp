#include <memory>

#include "bench/commands/commands.h"
#include "bench/commands/run_options.h"
#include "bench/commands/scenario_run.h"

namespace crossover::commands {

void add_run(Command app, int& exit_code) {
  const Command command = app.add_subcommand("run", "Measure A against B as a scenario says, judge, and write a report");
  command.footer("Example: crossover run scenarios/external_example.json --set /plan/seed=3");
  const auto files = std::make_shared<std::vector<std::string>>();
  const auto options = std::make_shared<RunOptionsText>();
  command.add_option("scenarios", *files, "scenario files, or names from `crossover list`")
      .required()
      .type_name("SCENARIO.json");
  add_run_options(command, *options);
  command.callback([files, options, &exit_code] {
    std::vector<ScenarioText> scenarios;
    for (const std::string& file : *files) scenarios.push_back(load_scenario(file));
    exit_code = run_and_print(scenarios, to_request(*options));
  });
}

}  // namespace crossover::commands
