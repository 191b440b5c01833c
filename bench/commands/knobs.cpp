#include <fmt/format.h>
#include <unistd.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "bench/commands/commands.h"
#include "engine/knobs.h"

namespace crossover::commands {

namespace {

std::string allowed(const KnobInfo& knob) {
  if (std::string_view(knob.type) == "integer") return knob.values[0] + " .. " + knob.values[1];
  return knob.values.empty() ? knob.type : fmt::format("{}", fmt::join(knob.values, " | "));
}

void print_text(const Knobs& knobs) {
  for (const KnobInfo& knob : all_knobs()) {
    const KnobValue& now = knobs.all().at(knob.name);
    fmt::print("{}={}  ({})\n    {}\n    values: {}; default: {}\n", knob.name, now.value, now.origin, knob.meaning,
               allowed(knob), *knob.default_value ? knob.default_value : "none");
  }
}

void print_json(const Knobs& knobs) {
  auto list = nlohmann::ordered_json::array();
  for (const KnobInfo& knob : all_knobs()) {
    const KnobValue& now = knobs.all().at(knob.name);
    list.push_back({{"name", knob.name},
                    {"type", knob.type},
                    {"default", knob.default_value},
                    {"values", knob.values},
                    {"meaning", knob.meaning},
                    {"value", now.value},
                    {"origin", now.origin}});
  }
  fmt::print("{}\n", list.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
}

}  // namespace

void add_knobs(Command app, int&) {
  const Command command = app.add_subcommand(
      "knobs", "Every knob: type, default, values, meaning, its value here and where that came from");
  command.footer("Example: CROSSOVER_GDN_PREFILL=recurrent crossover knobs --json");
  auto json = std::make_shared<bool>(false);
  command.add_flag("--json", *json, "print a JSON array");
  command.callback([json] {
    Knobs knobs;
    knobs.set_from_environment(environ);
    *json ? print_json(knobs) : print_text(knobs);
  });
}

}  // namespace crossover::commands
