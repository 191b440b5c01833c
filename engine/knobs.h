// Every CROSSOVER_* variable: typed, documented, with its default. A knob says how the engine works; what is asked of it is the
// workload (options of `generate`, fields of a scenario). There is no other way to read the environment in the engine.
#pragma once

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace crossover {

struct KnobInfo {
  const char* name;           // "CROSSOVER_GDN_PREFILL"
  const char* type;           // "choice", "bool" (0 or 1), "integer", "path" or "delay" (PHASE:MILLISECONDS)
  const char* default_value;
  std::vector<std::string> values;  // of a choice; {"MIN", "MAX"} of an integer; empty otherwise
  const char* meaning;
};

std::span<const KnobInfo> all_knobs();
const KnobInfo* find_knob(std::string_view name);

struct KnobValue {
  std::string value;
  std::string origin;  // "default", "env", "command line" or "scenario"
};

class Knobs {
 public:
  Knobs();  // all defaults

  // std::invalid_argument for an unknown name (the nearest one is suggested), an empty value or one the type does not allow.
  void set(std::string_view name, std::string_view value, std::string_view origin);

  // Takes every CROSSOVER_* entry of an environment block ("NAME=value"); unknown ones are errors.
  void set_from_environment(char* const* environment);

  const std::string& get(std::string_view name) const;  // a registered name
  bool flag(std::string_view name) const { return get(name) == "1"; }
  long integer(std::string_view name) const;
  const std::map<std::string, KnobValue, std::less<>>& all() const { return values_; }

 private:
  std::map<std::string, KnobValue, std::less<>> values_;
};

// The candidate closest to `word` by edit distance, empty when none is near enough to be what was meant.
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace crossover
