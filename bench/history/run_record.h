// One run as the history and comparisons between files see it. There the unit is the run: of its samples only means are used.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "bench/judge/stats.h"

namespace crossover {

// A metric of a cell in one arm, or (arm "effect") its difference between the arms.
struct RunPoint {
  std::string cell;                 // "prompt_tokens=64"; empty without a sweep
  std::string metric;
  std::string arm;                  // "A", "B" or "effect"
  std::string page_cache;           // found before the samples: "cold", "warm", ...; empty where nobody looked
  std::string build;                // what was measured, a commit; empty where two runs cannot be known to be of one build
  bool higher_is_better = false;    // never of an effect, which is time-like
  double value_ln = 0;              // mean over the samples of ln(metric), in its own unit; of an effect ln(B/A), negative = B faster
  std::optional<double> sd_ln;      // between the samples; absent for one and for an effect
  std::optional<Interval> interval_ln;  // of an effect, 95 %
  int n = 0;                        // samples, or pairs
  std::string word;                 // of an effect, as its run said it
};

struct RunRecord {
  std::string scenario, kind;
  std::string asked;        // JSON of what decides whether two runs measured the same: workload, arms, sweep, pairs, primary, env knobs
  std::string machine;      // id: 12 hexadecimal digits of what does not change between two runs, or the name somebody gave it
  std::string hardware;     // JSON of what the id is made from
  std::string version, commit, compiler;  // of crossover; a dirty tree's commit ends in "-dirty"
  std::string flags;        // JSON of compiler, flags, build type, sanitizers; empty where crossover is not what was measured
  std::string started_at;   // of its first sample, UTC
  std::string plan_hash, primary;
  double tau_ln = 0;        // threshold or noise floor, whichever is larger
  std::string word, reason;
  int samples = 0;          // that worked, in both arms
  std::vector<RunPoint> points;

  std::string scenario_hash() const;  // 12 hexadecimal digits of `asked`
  std::string label() const;          // of its build, for a person
};

struct RecordNames {
  std::string machine;  // in place of what the file says of it; empty = as the file says
  std::string commit;   // of the program measured, where the file cannot know it
};

// `result` has passed read_result. std::runtime_error says which part is not what it must be; std::invalid_argument: a commit was given
// for a run that names its own.
RunRecord make_run_record(const nlohmann::ordered_json& result, const RecordNames& names = {});

// Where two JSON objects differ: "/plan/pairs is 8 in BASE and 16 in NEW"; at most `most` places, empty when they are equal.
std::string differences(const std::string& base, const std::string& next, int most = 3);

std::string printable(std::string text);  // control characters as '?': names come from files

}  // namespace crossover
