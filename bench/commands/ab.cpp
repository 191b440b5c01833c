#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "bench/commands/commands.h"
#include "bench/commands/run_options.h"
#include "bench/commands/scenario_run.h"
#include "engine/knobs.h"

namespace crossover::commands {

namespace {

using nlohmann::json;

struct AbOptions {
  RunOptionsText run;
  std::vector<std::string> a, b, metrics, command;
  std::string a_command, b_command, a_url, b_url;
};

// NAME=VALUE: a registered knob, else a variable of the environment.
void set_variable(json& arm, const std::string& text, const char* option) {
  const std::size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0)
    throw std::invalid_argument(fmt::format("{} '{}' is no NAME=VALUE", option, text));
  const std::string name = text.substr(0, equals), value = text.substr(equals + 1);
  if (find_knob(name))
    arm["knobs"][name] = value;
  else
    arm["workload"]["env"][name] = value;
}

void add_metrics(const std::vector<std::string>& metrics, json& scenario) {
  scenario["workload"]["metrics"]["wall_s"] = json::object();
  scenario["plan"]["primary"] = "wall_s";
  for (const std::string& text : metrics) {
    const std::size_t equals = text.find('=');
    if (equals == std::string::npos || equals == 0 || equals + 1 == text.size())
      throw std::invalid_argument(fmt::format("--metric '{}' is no NAME=REGEX", text));
    const std::string name = text.substr(0, equals);
    scenario["workload"]["metrics"][name] = {{"regex", text.substr(equals + 1)}};
    if (&text == &metrics.front()) scenario["plan"]["primary"] = name;
  }
}

// Two servers: --metric takes the name of one that every endpoint sample has.
json endpoint_scenario(const AbOptions& options) {
  if (options.a_url.empty() || options.b_url.empty()) throw std::invalid_argument("--a-url and --b-url go together; give both");
  if (!options.command.empty() || !options.a_command.empty() || !options.b_command.empty() || !options.a.empty() || !options.b.empty())
    throw std::invalid_argument("--a-url and --b-url measure two servers that run already; leave out commands and variables");
  if (options.metrics.size() > 1) throw std::invalid_argument("of servers one --metric decides, and all are measured; give one name");
  const std::string metric = options.metrics.empty() ? "ttft_s" : options.metrics.front();
  if (metric.find('=') != std::string::npos)
    throw std::invalid_argument(fmt::format("--metric '{}' has a regex and a server prints nothing; name a metric, like decode.tokens_per_s", metric));
  return {{"schema", "crossover.scenario/1"},
          {"name", "ab"},
          {"question", fmt::format("Does B change the {} of a server?", metric)},
          {"workload", {{"kind", "endpoint"}}},
          {"arms", {{"A", {{"workload", {{"url", options.a_url}}}}}, {"B", {{"workload", {{"url", options.b_url}}}}}}},
          {"plan", {{"primary", metric}}}};
}

json scenario_of(const AbOptions& options) {
  if (!options.a_url.empty() || !options.b_url.empty()) return endpoint_scenario(options);
  json scenario{{"schema", "crossover.scenario/1"},
                {"name", "ab"},
                {"workload", {{"kind", "external"}}},
                {"arms", {{"A", json::object()}, {"B", json::object()}}}};
  for (const std::string& text : options.a) set_variable(scenario["arms"]["A"], text, "--a");
  for (const std::string& text : options.b) set_variable(scenario["arms"]["B"], text, "--b");
  const bool own_commands = !options.a_command.empty() && !options.b_command.empty();
  if (options.command.empty() && !own_commands)
    throw std::invalid_argument("no command to measure; write it after --, or give both --a-cmd and --b-cmd");
  if (!options.command.empty()) scenario["workload"]["command"] = options.command;
  const auto shell = [](const std::string& text) { return json{"sh", "-c", text}; };
  if (!options.a_command.empty()) scenario["arms"]["A"]["workload"]["command"] = shell(options.a_command);
  if (!options.b_command.empty()) scenario["arms"]["B"]["workload"]["command"] = shell(options.b_command);
  add_metrics(options.metrics, scenario);
  const std::string what = options.command.empty() ? options.a_command : options.command.front();
  scenario["question"] =
      fmt::format("Does B change the {} of {}?", scenario["plan"]["primary"].get<std::string>(), what);
  return scenario;
}

}  // namespace

void add_ab(Command app, int& exit_code) {
  const Command command = app.add_subcommand("ab", "A against B of any program, without writing a scenario file");
  command.footer(
      "The scenario that it makes is shown on stderr.\nExample: crossover ab --a OMP_NUM_THREADS=1 --b "
      "OMP_NUM_THREADS=2 --metric 't_s=took ([0-9.]+) s' -- ./program --size 10");
  const auto options = std::make_shared<AbOptions>();
  add_list_option(command, "--a", options->a, "environment variable or knob of arm A", "NAME=VALUE");
  add_list_option(command, "--b", options->b, "environment variable or knob of arm B", "NAME=VALUE");
  command.add_option("--a-cmd", options->a_command, "command of arm A, run by sh -c").type_name("CMD");
  command.add_option("--b-cmd", options->b_command, "command of arm B, run by sh -c").type_name("CMD");
  command.add_option("--a-url", options->a_url, "OpenAI-compatible server of arm A, like http://127.0.0.1:8080/v1").type_name("URL");
  command.add_option("--b-url", options->b_url, "server of arm B").type_name("URL");
  add_list_option(command, "--metric", options->metrics,
                  "what to read from its output; the first one decides (default wall_s; of servers NAME alone, default ttft_s)", "NAME=REGEX");
  add_run_options(command, options->run);
  command.add_option("command", options->command, "the program and its arguments, after --").type_name("CMD");
  command.callback([options, &exit_code] {
    const std::string text = scenario_of(*options).dump(2);
    const RunRequest request = to_request(options->run);
    parse_scenario(text, "the scenario of ab", request.changes);  // what is refused is not shown: a secret may be in it
    if (!request.quiet) fmt::print(stderr, "{}\n", text);
    exit_code = run_and_print({{"the scenario of ab", text}}, request);
  });
}

}  // namespace crossover::commands
