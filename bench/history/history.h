// Results over time in one SQLite file: what trends and two-file comparisons need as columns, and each result whole. Several
// processes may write at once, and any of them may be killed at any moment.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "bench/history/run_record.h"
#include "bench/history/sqlite.h"

namespace crossover {

// $XDG_DATA_HOME/crossover/history.sqlite, else ~/.local/share/crossover/history.sqlite; absent without either variable.
std::optional<std::filesystem::path> usual_history_file();

struct HistoryFilter {  // an absent field admits everything
  std::optional<std::string> scenario, machine;
  std::optional<std::string> since;  // "2026-11-21" or a longer beginning of a UTC time
};

struct HistoryRun {
  std::int64_t id = 0;
  RunRecord run;  // without points
};

struct HistoryPoint {
  std::int64_t id = 0;        // of its run
  std::string scenario, scenario_hash, kind, machine, hardware, flags, label, started_at, plan_hash;
  RunPoint point;
};

enum class Added { kNew, kThere, kReplaced };  // replaced: an earlier state of the same run, with fewer samples

class History {
 public:
  // std::runtime_error: no such file where it may not be made, no SQLite file, another program's, or one of a newer version.
  History(const std::filesystem::path& file, bool create);

  // The same run (its plan and the start of its first sample) is kept once. Returns its id.
  std::pair<std::int64_t, Added> add(const RunRecord& run, const std::string& result_text);

  std::vector<HistoryRun> list(const HistoryFilter& filter);  // by time
  std::string result_text(std::int64_t id);                   // as it was added; std::invalid_argument for an unknown id

  // Of all runs but the INVALID ones, by series (scenario, cell, machine, flags, page cache, arm), then by time.
  std::vector<HistoryPoint> points(const std::string& metric, const HistoryFilter& filter);
  std::vector<std::string> metrics();
  // What was measured in that run, where the history was told and the file could not know; empty otherwise.
  std::string build_of(const RunRecord& run, const std::string& arm);

 private:
  void migrate();
  std::int64_t checked_version();
  void insert_points(std::int64_t id, const RunRecord& run);

  Database database_;
};

}  // namespace crossover
