#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <exception>

#include "bench/commands/commands.h"
#include "bench/commands/printable.h"

int main(int argc, char** argv) {
  CLI::App app{"Did this change make LLM inference faster, slower, or neither - and where?", "crossover"};
  app.require_subcommand(1);
  app.set_version_flag("--version", CROSSOVER_VERSION);
  int exit_code = 0;
  crossover::commands::add_generate(app, exit_code);
  crossover::commands::add_synth(app, exit_code);
  crossover::commands::add_quantize(app, exit_code);
  crossover::commands::add_report(app, exit_code);
  crossover::commands::add_knobs(app, exit_code);
  crossover::commands::add_doctor(app, exit_code);
  crossover::commands::add_calibrate(app, exit_code);
  crossover::commands::add_run(app, exit_code);
  crossover::commands::add_ab(app, exit_code);
  crossover::commands::add_compare(app, exit_code);
  crossover::commands::add_history(app, exit_code);
  crossover::commands::add_cache(app, exit_code);
  crossover::commands::add_list(app, exit_code);
  crossover::commands::add_sample(app, exit_code);
  crossover::commands::add_simulated_sample(app, exit_code);
  try {
    app.parse(argc, argv);
    return exit_code;
  } catch (const CLI::Success& asked) {  // --help, --version
    return app.exit(asked);
  } catch (const CLI::ParseError& error) {
    fmt::print(stderr, "crossover: {}; see `crossover --help`\n", crossover::printable(error.what()));
  } catch (const std::exception& error) {
    fmt::print(stderr, "crossover: {}\n", crossover::printable(error.what()));
  }
  return 4;
}
