#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <exception>

int main(int argc, char** argv) {
  CLI::App app{"Did this change make LLM inference faster, slower, or neither - and where?", "crossover"};
  app.require_subcommand(1);
  app.set_version_flag("--version", CROSSOVER_VERSION);
  try {
    app.parse(argc, argv);
    return 0;
  } catch (const CLI::Success& asked) {  // --help, --version
    return app.exit(asked);
  } catch (const CLI::ParseError& error) {
    fmt::print(stderr, "crossover: {}; see `crossover --help`\n", error.what());
  } catch (const std::exception& error) {
    fmt::print(stderr, "crossover: {}\n", error.what());
  }
  return 4;
}
