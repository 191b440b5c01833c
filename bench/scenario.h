// A scenario file: one question, two arms. Parsed, checked against scenarios/schema.json, defaults filled, sweeps expanded.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace crossover {

struct ArmSettings {
  std::string workload;                      // JSON object: the scenario's workload with the arm's fields over it, defaults filled
  std::map<std::string, std::string> knobs;  // those the scenario sets
  std::string program;                       // another build of crossover; empty = this one
};

struct Cell {
  std::string name;  // "prompt_tokens=64"; empty without a sweep
  ArmSettings a, b;
  const ArmSettings& arm(char which) const { return which == 'A' ? a : b; }
};

enum class OutputRule { kIdentical, kIgnore, kTolerance };

struct Expectations {
  OutputRule outputs = OutputRule::kIdentical;
  double logit_nmse = 0;               // with kTolerance
  std::vector<std::string> controls;   // metrics that must not move
  std::vector<std::string> differs;    // "path.gdn", "counters.launches": must be unlike in the arms
  std::map<std::string, std::string> path;  // what must have run in every sample, "B.cache" in those of that arm
};

struct Scenario {
  std::string name, question, kind;
  std::string json;  // as run: after --set, with defaults; one line
  std::vector<Cell> cells;
  int pairs = 8;                    // of each cell
  std::vector<int> looks{8};        // numbers of pairs at which the run is judged; the last is `pairs`
  std::uint64_t seed = 1;
  std::string primary;
  double threshold_percent = 2;
  bool exploratory = false;         // more than 8 cells and no number of pairs given: no verdicts
  Expectations expect;
  double sample_timeout_s = 0;
  int max_failed = 0;
  std::map<std::string, bool> higher_is_better;  // as "better" of an external metric says; others by their suffix
};

struct ScenarioChanges {
  std::vector<std::string> sets;  // "/json/pointer=VALUE": VALUE is JSON, else a string
  std::optional<int> pairs;
};

// `source` names the text in messages. std::runtime_error (text that is no JSON) or std::invalid_argument, one line: an unknown
// field, arm or knob with the nearest right name, a wrong type or value with what is allowed, an odd number of pairs, looks that are
// not even, do not rise or do not end at the pairs.
Scenario parse_scenario(const std::string& text, const std::string& source, const ScenarioChanges& changes = {});

// Whether more of the metric is better: stated, else by the longest suffix (_per_s higher; _s and _bytes lower).
// std::invalid_argument where nothing says it.
bool higher_is_better(const Scenario& scenario, const std::string& metric);

}  // namespace crossover
