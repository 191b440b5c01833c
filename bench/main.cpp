#include <fmt/format.h>

#include <exception>

#include "bench/commands/commands.h"
#include "bench/commands/printable.h"

int main(int argc, char** argv) {
  using namespace crossover::commands;
  int exit_code = 0;
  try {
    CommandLine line("Did this change make LLM inference faster, slower, or neither - and where?", "crossover", CROSSOVER_VERSION);
    const Command app = line.root();
    add_generate(app, exit_code);
    add_synth(app, exit_code);
    add_quantize(app, exit_code);
    add_report(app, exit_code);
    add_knobs(app, exit_code);
    add_doctor(app, exit_code);
    add_calibrate(app, exit_code);
    add_run(app, exit_code);
    add_ab(app, exit_code);
    add_compare(app, exit_code);
    add_history(app, exit_code);
    add_cache(app, exit_code);
    add_list(app, exit_code);
    add_sample(app, exit_code);
    add_simulated_sample(app, exit_code);
    line.run(argc, argv);
    return exit_code;
  } catch (const UsageError& error) {
    fmt::print(stderr, "crossover: {}; see `crossover --help`\n", crossover::printable(error.what()));
  } catch (const std::exception& error) {
    fmt::print(stderr, "crossover: {}\n", crossover::printable(error.what()));
  }
  return 4;
}
