#include "bench/commands/command_line.h"

#include <CLI/CLI.hpp>
#include <cstdint>
#include <filesystem>
#include <optional>

namespace crossover::commands {

Option Option::required() const { return Option(option_->required()); }
Option Option::type_name(const std::string& name) const { return Option(option_->type_name(name)); }
Option Option::show_default() const { return Option(option_->capture_default_str()); }
Option Option::range(int least, int most) const { return Option(option_->check(CLI::Range(least, most))); }
Option Option::range(double least, double most) const { return Option(option_->check(CLI::Range(least, most))); }
Option Option::positive() const { return Option(option_->check(CLI::PositiveNumber)); }
Option Option::not_negative() const { return Option(option_->check(CLI::NonNegativeNumber)); }
Option Option::one_of(const std::vector<std::string>& values) const { return Option(option_->check(CLI::IsMember(values))); }
Option Option::one_each_time() const { return Option(option_->expected(1)->take_all()->allow_extra_args(false)); }
Option Option::separated_by(char delimiter) const { return Option(option_->delimiter(delimiter)); }
Option Option::needs(const Option& other) const { return Option(option_->needs(other.option_)); }
bool Option::is_given() const { return option_->count() > 0; }

Command Command::add_subcommand(const std::string& name, const std::string& about) const { return Command(app_->add_subcommand(name, about)); }
void Command::require_subcommand() const { app_->require_subcommand(1); }
Option Command::add_flag(const std::string& name, bool& value, const std::string& about) const { return Option(app_->add_flag(name, value, about)); }
void Command::footer(const std::string& text) const { app_->footer(text); }
void Command::hide() const { app_->group(""); }
void Command::callback(std::function<void()> run) const { app_->callback(std::move(run)); }

template <class T>
Option Command::add_option(const std::string& name, T& value, const std::string& about) const {
  return Option(app_->add_option(name, value, about));
}

CommandLine::CommandLine(const std::string& about, const std::string& program, const std::string& version)
    : app_(std::make_unique<CLI::App>(about, program)) {
  app_->require_subcommand(1);
  app_->set_version_flag("--version", version);
}

CommandLine::~CommandLine() = default;

bool CommandLine::run(int argc, char** argv) {
  try {
    app_->parse(argc, argv);
    return true;
  } catch (const CLI::Success& asked) {  // --help, --version
    app_->exit(asked);
    return false;
  } catch (const CLI::ParseError& error) {
    throw UsageError(error.what());
  }
}

template Option Command::add_option(const std::string&, std::string&, const std::string&) const;
template Option Command::add_option(const std::string&, std::filesystem::path&, const std::string&) const;
template Option Command::add_option(const std::string&, int&, const std::string&) const;
template Option Command::add_option(const std::string&, std::int64_t&, const std::string&) const;
template Option Command::add_option(const std::string&, std::uint64_t&, const std::string&) const;
template Option Command::add_option(const std::string&, double&, const std::string&) const;
template Option Command::add_option(const std::string&, std::optional<std::string>&, const std::string&) const;
template Option Command::add_option(const std::string&, std::optional<int>&, const std::string&) const;
template Option Command::add_option(const std::string&, std::optional<std::int64_t>&, const std::string&) const;
template Option Command::add_option(const std::string&, std::optional<double>&, const std::string&) const;
template Option Command::add_option(const std::string&, std::vector<std::string>&, const std::string&) const;
template Option Command::add_option(const std::string&, std::vector<std::filesystem::path>&, const std::string&) const;

}  // namespace crossover::commands
