// One sample: what one fresh process did. The unit of measurement; the same record in the child's answer, in the journal and in
// the result file. A missing value is absent, never 0.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "engine/knobs.h"

namespace crossover {

inline constexpr const char* kSampleSchema = "crossover.sample/1";

struct SamplePhase {
  std::string name;                // "load.read", "gdn.scan"
  int rank = 0;
  double start_s = 0;              // from the start of the metric it is part of
  double duration_s = 0;           // a share of the rank's wall time
  std::optional<double> busy_s;    // thread-seconds
  int parent = -1;                 // index into the same list
};

// What a thread of a rank was in, from the start of the load. Workers count from 0, reader threads from -1 down.
struct SampleSpan {
  int rank = 0, thread = 0;
  std::string phase;
  double start_s = 0, end_s = 0;
};

// The row of logits from which one output token was chosen, at the ids that were recorded (the highest, or fixed probes).
struct LogitRow {
  std::vector<std::int64_t> ids;
  std::vector<double> logits;  // of ids
};

struct PageCacheState {
  std::string state;  // "cold", "warm" or "partial", as found immediately before the start
  std::int64_t bytes_resident_before = 0;
  std::int64_t bytes_total = 0;
};

struct Sample {
  char arm = 'A';
  int cell = 0, pair = 0, position = 0;  // position: zero-based place in the planned order over both arms
  bool control = false;                  // the determinism control: taken after the plan, not analysed
  std::string started_at;                // UTC, ISO 8601

  std::string failure;  // why there is no measurement; empty for a good sample
  int exit = 0, signal = 0;
  std::string last_phase, stderr_tail;  // of a failed sample
  std::string stack;                    // where its threads were, of one that hung or crashed (bench/process/stacks.h)

  std::optional<double> main_started_s;  // CLOCK_MONOTONIC when main was entered
  std::map<std::string, double> metrics;
  std::map<std::string, std::vector<double>> series;
  std::vector<SamplePhase> phases;
  std::vector<SampleSpan> timeline;      // kept of pair 0 alone: it is for looking at
  std::map<std::string, double> counters;  // launches, bytes, reused_tokens, ...
  std::map<std::string, std::string> path; // which way the engine went: "gdn" -> "chunked"
  std::map<std::string, KnobValue> knobs;  // as the process resolved them
  std::string quantized_file;              // that CROSSOVER_QUANT_CACHE kept or loaded from; empty without one
  std::optional<PageCacheState> page_cache;
  std::string trace;                       // a JSON object of a traced sample (bench/profile/gpu_trace.h), else empty
  std::string clocks;                      // a JSON object, empty when not read
  std::vector<int> cpus;                   // cores that the kernel allowed the process; empty when not known
  std::optional<int> priority;             // nice value that it had

  std::string output_hash;  // of everything the process produced, empty when it produced nothing to compare
  std::vector<std::int64_t> output_tokens;
  std::vector<LogitRow> top_logits;  // row i chose output_tokens[i]
  std::vector<std::string> flags;

  bool ok() const { return failure.empty(); }
};

nlohmann::json sample_to_json(const Sample& sample);

// std::runtime_error names the first field that is not what it must be (type, a number that is not finite, unequal lengths).
Sample sample_from_json(const nlohmann::json& json);

std::string utc_now();  // "2026-11-21T06:00:00.123Z"
std::optional<double> utc_seconds(const std::string& time);  // since 1970; absent for anything that utc_now does not write

}  // namespace crossover
