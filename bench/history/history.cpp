#include "bench/history/history.h"

#include <fmt/format.h>

#include <chrono>
#include <cstdlib>
#include <stdexcept>
#include <thread>

#include "bench/sample.h"
#include "bench/sha256.h"

namespace crossover {

namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kApplicationId = 0x43524f58;  // "CROX": whose SQLite file it is

// Step i takes a file from version i to i + 1; steps that were released are never changed.
constexpr const char* kSteps[] = {R"sql(
  CREATE TABLE runs(
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    content_sha256 TEXT NOT NULL, plan_hash TEXT NOT NULL, started_at TEXT NOT NULL, added_at TEXT NOT NULL,
    scenario TEXT NOT NULL, scenario_hash TEXT NOT NULL, kind TEXT NOT NULL, asked TEXT NOT NULL,
    machine TEXT NOT NULL, hardware TEXT NOT NULL,
    version TEXT NOT NULL, commit_id TEXT NOT NULL, compiler TEXT NOT NULL, flags TEXT NOT NULL, label TEXT NOT NULL,
    primary_metric TEXT NOT NULL, tau_ln REAL NOT NULL, word TEXT NOT NULL, reason TEXT NOT NULL, samples INTEGER NOT NULL,
    result TEXT NOT NULL,
    UNIQUE(plan_hash, started_at));
  CREATE INDEX runs_by_scenario ON runs(scenario, machine, started_at);
  CREATE TABLE points(
    run INTEGER NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
    metric TEXT NOT NULL, cell TEXT NOT NULL, arm TEXT NOT NULL CHECK(arm IN ('A', 'B', 'effect')),
    page_cache TEXT NOT NULL, build TEXT NOT NULL, higher_is_better INTEGER NOT NULL,
    value_ln REAL NOT NULL, sd_ln REAL, low_ln REAL, high_ln REAL, n INTEGER NOT NULL, word TEXT NOT NULL,
    PRIMARY KEY(metric, run, cell, arm)) WITHOUT ROWID;
  CREATE INDEX points_by_run ON points(run);
)sql"};
constexpr std::int64_t kVersion = std::size(kSteps);

std::int64_t pragma(Database& database, const std::string& name) {
  Statement statement(database, "PRAGMA " + name);
  return statement.step() ? statement.whole(0) : 0;
}

bool is_empty(Database& database) {
  Statement tables(database, "SELECT count(*) FROM sqlite_master");
  tables.step();
  return tables.whole(0) == 0;
}

// Writers then do not keep readers out. Where the file system has no shared memory SQLite stays with its rollback journal, which is
// as safe. The switch does not wait for other connections by itself.
void write_ahead(Database& database) {
  constexpr int kAttempts = 500;  // ten seconds: others make the same tables, or add a result
  for (int attempt = 1;; ++attempt) {
    try {
      Statement mode(database, "PRAGMA journal_mode = WAL");
      mode.step();
      return;
    } catch (const DatabaseBusy&) {
      if (attempt == kAttempts) throw;
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }
}

const fs::path& checked(const fs::path& file, bool create) {
  if (!create && !fs::exists(file))
    throw std::runtime_error(fmt::format("there is no history in {}; make one with crossover history add RESULT.json", file.string()));
  if (create && file.has_parent_path()) {
    std::error_code failed;
    fs::create_directories(file.parent_path(), failed);
    if (failed)
      throw std::runtime_error(fmt::format("cannot make the folder of the history {}: {}; name another file with --file", file.string(),
                                           failed.message()));
  }
  return file;
}

constexpr const char* kFilter = "(?1 IS NULL OR scenario = ?1) AND (?2 IS NULL OR machine = ?2) AND (?3 IS NULL OR started_at >= ?3)";

void bind_filter(Statement& statement, const HistoryFilter& filter) {
  statement.bind(1, filter.scenario).bind(2, filter.machine).bind(3, filter.since);
}

}  // namespace

std::optional<fs::path> usual_history_file() {
  // The XDG rule: a relative value is to be ignored.
  if (const char* xdg = std::getenv("XDG_DATA_HOME"); xdg && *xdg == '/') return fs::path(xdg) / "crossover" / "history.sqlite";
  if (const char* home = std::getenv("HOME"); home && *home)
    return fs::path(home) / ".local" / "share" / "crossover" / "history.sqlite";
  return std::nullopt;
}

History::History(const fs::path& file, bool create) : database_(checked(file, create), create) { migrate(); }

void History::migrate() {
  const std::int64_t version = checked_version();
  database_.run("PRAGMA foreign_keys = ON; PRAGMA synchronous = FULL");  // what was said to be added is on disk
  if (version == kVersion) return;
  write_ahead(database_);
  Transaction transaction(database_, Transaction::kWrites);
  for (std::int64_t at = pragma(database_, "user_version"); at < kVersion; ++at)  // another process may have done it meanwhile
    database_.run(kSteps[at]);
  database_.run(fmt::format("PRAGMA application_id = {}; PRAGMA user_version = {}", kApplicationId, kVersion));
  transaction.commit();
}

std::int64_t History::checked_version() {
  const Transaction one_moment(database_, Transaction::kReads);
  const std::int64_t application = pragma(database_, "application_id"), version = pragma(database_, "user_version");
  if (application != kApplicationId && (application != 0 || version != 0 || !is_empty(database_)))
    throw std::runtime_error(
        fmt::format("history {}: it is an SQLite file of another program; name another with --file", database_.file().string()));
  if (version > kVersion)
    throw std::runtime_error(fmt::format("history {}: it was written by a newer crossover (version {} of its tables, this one knows up to {}); "
                                         "use that one, or name another file with --file",
                                         database_.file().string(), version, kVersion));
  return version;
}

std::pair<std::int64_t, Added> History::add(const RunRecord& run, const std::string& result_text) {
  Transaction transaction(database_, Transaction::kWrites);
  Added outcome = Added::kNew;
  {
    Statement known(database_, "SELECT id, samples FROM runs WHERE plan_hash = ?1 AND started_at = ?2");
    known.bind(1, run.plan_hash).bind(2, run.started_at);
    if (known.step()) {
      if (known.whole(1) >= run.samples) return {known.whole(0), Added::kThere};
      outcome = Added::kReplaced;
      Statement remove(database_, "DELETE FROM runs WHERE id = ?1");
      remove.bind(1, known.whole(0)).step();
    }
  }
  Statement insert(database_,
                   "INSERT INTO runs(content_sha256, plan_hash, started_at, added_at, scenario, scenario_hash, kind, asked, machine, hardware, "
                   "version, commit_id, compiler, flags, label, primary_metric, tau_ln, word, reason, samples, result) "
                   "VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21)");
  insert.bind(1, sha256_text(result_text)).bind(2, run.plan_hash).bind(3, run.started_at).bind(4, utc_now()).bind(5, run.scenario);
  insert.bind(6, run.scenario_hash()).bind(7, run.kind).bind(8, run.asked).bind(9, run.machine).bind(10, run.hardware);
  insert.bind(11, run.version).bind(12, run.commit).bind(13, run.compiler).bind(14, run.flags).bind(15, run.label());
  insert.bind(16, run.primary).bind(17, run.tau_ln).bind(18, run.word).bind(19, run.reason).bind(20, std::int64_t{run.samples});
  insert.bind(21, result_text).step();
  const std::int64_t id = database_.last_row();
  insert_points(id, run);
  transaction.commit();
  return {id, outcome};
}

void History::insert_points(std::int64_t id, const RunRecord& run) {
  Statement insert(database_,
                   "INSERT INTO points(run, metric, cell, arm, page_cache, build, higher_is_better, value_ln, sd_ln, low_ln, high_ln, n, word) "
                   "VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)");
  for (const RunPoint& point : run.points) {
    insert.bind(1, id).bind(2, point.metric).bind(3, point.cell).bind(4, point.arm).bind(5, point.page_cache).bind(6, point.build);
    insert.bind(7, std::int64_t{point.higher_is_better}).bind(8, point.value_ln).bind(9, point.sd_ln);
    if (point.interval_ln) insert.bind(10, point.interval_ln->low).bind(11, point.interval_ln->high);
    else insert.bind_null(10).bind_null(11);
    insert.bind(12, std::int64_t{point.n}).bind(13, point.word).step();
    insert.reset();
  }
}

std::vector<HistoryRun> History::list(const HistoryFilter& filter) {
  Statement rows(database_, fmt::format("SELECT id, plan_hash, started_at, scenario, kind, asked, machine, hardware, version, commit_id, compiler, "
                                        "flags, primary_metric, tau_ln, word, reason, samples FROM runs WHERE {} ORDER BY started_at, id",
                                        kFilter));
  bind_filter(rows, filter);
  std::vector<HistoryRun> found;
  while (rows.step()) {
    HistoryRun row{rows.whole(0), {}};
    RunRecord& run = row.run;
    run.plan_hash = rows.text(1), run.started_at = rows.text(2), run.scenario = rows.text(3), run.kind = rows.text(4);
    run.asked = rows.text(5), run.machine = rows.text(6), run.hardware = rows.text(7), run.version = rows.text(8);
    run.commit = rows.text(9), run.compiler = rows.text(10), run.flags = rows.text(11), run.primary = rows.text(12);
    run.tau_ln = rows.number(13), run.word = rows.text(14), run.reason = rows.text(15);
    run.samples = static_cast<int>(rows.whole(16));
    found.push_back(std::move(row));
  }
  return found;
}

std::string History::result_text(std::int64_t id) {
  Statement row(database_, "SELECT result FROM runs WHERE id = ?1");
  if (row.bind(1, id).step()) return row.text(0);
  Statement range(database_, "SELECT count(*), min(id), max(id) FROM runs");
  range.step();
  const std::string there = range.whole(0) ? fmt::format("its {} runs have ids from {} to {}", range.whole(0), range.whole(1), range.whole(2))
                                           : std::string("it has no runs");
  throw std::invalid_argument(fmt::format("there is no run {} in {}: {}; see crossover history list", id, database_.file().string(), there));
}

std::vector<HistoryPoint> History::points(const std::string& metric, const HistoryFilter& filter) {
  Statement rows(database_,
                 fmt::format("SELECT run, scenario, scenario_hash, kind, machine, hardware, flags, label, started_at, plan_hash, cell, arm, "
                             "page_cache, build, higher_is_better, value_ln, sd_ln, low_ln, high_ln, n, points.word "
                             "FROM points JOIN runs ON run = id WHERE metric = ?4 AND runs.word <> 'INVALID' AND {} "
                             "ORDER BY scenario, scenario_hash, cell, machine, flags, page_cache, arm, started_at, run",
                             kFilter));
  bind_filter(rows, filter);
  rows.bind(4, metric);
  std::vector<HistoryPoint> found;
  while (rows.step()) {
    HistoryPoint at{rows.whole(0), rows.text(1), rows.text(2), rows.text(3), rows.text(4), rows.text(5),
                    rows.text(6),  rows.text(7), rows.text(8), rows.text(9), {}};
    RunPoint& point = at.point;
    point.metric = metric, point.cell = rows.text(10), point.arm = rows.text(11), point.page_cache = rows.text(12);
    point.build = rows.text(13), point.higher_is_better = rows.whole(14) != 0, point.value_ln = rows.number(15);
    point.sd_ln = rows.optional_number(16), point.n = static_cast<int>(rows.whole(19)), point.word = rows.text(20);
    const auto low = rows.optional_number(17), high = rows.optional_number(18);
    if (low && high) point.interval_ln = Interval{*low, *high};
    found.push_back(std::move(at));
  }
  return found;
}

std::vector<std::string> History::metrics() {
  Statement rows(database_, "SELECT DISTINCT metric FROM points ORDER BY metric");
  std::vector<std::string> names;
  while (rows.step()) names.push_back(rows.text(0));
  return names;
}

std::string History::build_of(const RunRecord& run, const std::string& arm) {
  Statement row(database_, "SELECT build FROM points JOIN runs ON run = id WHERE plan_hash = ?1 AND started_at = ?2 AND arm = ?3 LIMIT 1");
  return row.bind(1, run.plan_hash).bind(2, run.started_at).bind(3, arm).step() ? row.text(0) : "";
}

}  // namespace crossover
