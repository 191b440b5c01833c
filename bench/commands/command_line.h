// The command line: commands, their options, and which values these take. CLI11 does it, and is included by command_line.cpp alone, because
// parsing its header costs a compiler more than most commands do.
//
// Command and Option are names of something that lives as long as the CommandLine they come from; copies mean the same thing. The chained
// calls of an option read in the order in which --help shows them.
#pragma once

#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace crossover::commands {

class Option {
 public:
  explicit Option(CLI::Option* option) : option_(option) {}

  Option required() const;
  Option type_name(const std::string& name) const;  // what --help calls the value
  Option show_default() const;                      // in --help: what the variable holds now
  Option range(int least, int most) const;          // both may be given
  Option range(double least, double most) const;
  Option positive() const;
  Option not_negative() const;
  Option one_of(const std::vector<std::string>& values) const;
  Option one_each_time() const;  // of a list: it takes one value each time it is given
  Option separated_by(char delimiter) const;
  Option needs(const Option& other) const;

  bool is_given() const;

 private:
  CLI::Option* option_;
};

class Command {
 public:
  explicit Command(CLI::App* app) : app_(app) {}

  Command add_subcommand(const std::string& name, const std::string& about) const;
  // One of the subcommands must be given.
  void require_subcommand() const;
  // `value` outlives the command line and keeps what it holds where the option is not given. Without leading dashes `name` is a position.
  // T: one of those named at the end of command_line.cpp.
  template <class T>
  Option add_option(const std::string& name, T& value, const std::string& about = "") const;
  Option add_flag(const std::string& name, bool& value, const std::string& about) const;
  void footer(const std::string& text) const;
  void hide() const;  // from --help
  void callback(std::function<void()> run) const;

 private:
  CLI::App* app_;
};

// What was given is not what the commands take.
struct UsageError : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

class CommandLine {
 public:
  CommandLine(const std::string& about, const std::string& program, const std::string& version);
  ~CommandLine();

  Command root() const { return Command(app_.get()); }
  // Runs the callback of the command that was given, whose exceptions come through. False: --help or --version was asked for, and is
  // printed. Throws UsageError.
  bool run(int argc, char** argv);

 private:
  std::unique_ptr<CLI::App> app_;
};

}  // namespace crossover::commands
