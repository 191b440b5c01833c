#include "bench/history/sqlite.h"

#include <fmt/format.h>
#include <sqlite3.h>

#include <exception>
#include <stdexcept>

namespace crossover {

namespace {

constexpr int kWaitMs = 60000;  // an add takes milliseconds; this is a writer that hangs

std::string explanation(int code, const std::string& said) {
  switch (code & 0xff) {
    case SQLITE_NOTADB: return "it is no SQLite file; name another with --file, or move it away";
    case SQLITE_CORRUPT: return "it is damaged (" + said + "); bring a copy back, or move it away and add the results again";
    case SQLITE_BUSY:
    case SQLITE_LOCKED: return fmt::format("another process has kept it locked for {} s; end that one and try again", kWaitMs / 1000);
    case SQLITE_FULL: return "the disk is full; nothing was changed";
    case SQLITE_READONLY: return "it cannot be written; name another with --file";
    case SQLITE_CANTOPEN: return "it cannot be opened; name another with --file";
    default: return said;
  }
}

}  // namespace

Database::Database(const std::filesystem::path& file, bool create) : file_(file) {
  if (std::filesystem::is_directory(file)) throw std::runtime_error(fmt::format("{} is a folder; name a file", file.string()));
  const int flags = SQLITE_OPEN_READWRITE | (create ? SQLITE_OPEN_CREATE : 0) | SQLITE_OPEN_EXRESCODE;
  const int code = sqlite3_open_v2(file.c_str(), &handle_, flags, nullptr);
  if (code != SQLITE_OK) {
    sqlite3_close_v2(handle_);
    handle_ = nullptr;
    fail(code);
  }
  sqlite3_busy_timeout(handle_, kWaitMs);
}

Database::~Database() { sqlite3_close_v2(handle_); }

void Database::fail(int code) const {
  const std::string said = handle_ ? sqlite3_errmsg(handle_) : sqlite3_errstr(code);
  const std::string line = fmt::format("history {}: {}", file_.string(), explanation(code, said));
  if ((code & 0xff) == SQLITE_BUSY || (code & 0xff) == SQLITE_LOCKED) throw DatabaseBusy(line);
  throw std::runtime_error(line);
}

void Database::run(const std::string& sql) {
  if (const int code = sqlite3_exec(handle_, sql.c_str(), nullptr, nullptr, nullptr); code != SQLITE_OK) fail(code);
}

std::int64_t Database::last_row() const { return sqlite3_last_insert_rowid(handle_); }

Statement::Statement(Database& database, const std::string& sql) : database_(database) {
  const int code = sqlite3_prepare_v2(database.handle_, sql.c_str(), static_cast<int>(sql.size()), &handle_, nullptr);
  if (code != SQLITE_OK) database_.fail(code);
}

Statement::~Statement() { sqlite3_finalize(handle_); }

Statement& Statement::bind(int parameter, std::string_view text) {
  const int code = sqlite3_bind_text64(handle_, parameter, text.data(), text.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
  if (code != SQLITE_OK) database_.fail(code);
  return *this;
}

Statement& Statement::bind(int parameter, std::int64_t value) {
  if (const int code = sqlite3_bind_int64(handle_, parameter, value); code != SQLITE_OK) database_.fail(code);
  return *this;
}

Statement& Statement::bind(int parameter, double value) {
  if (const int code = sqlite3_bind_double(handle_, parameter, value); code != SQLITE_OK) database_.fail(code);
  return *this;
}

Statement& Statement::bind_null(int parameter) {
  if (const int code = sqlite3_bind_null(handle_, parameter); code != SQLITE_OK) database_.fail(code);
  return *this;
}

bool Statement::step() {
  const int code = sqlite3_step(handle_);
  if (code == SQLITE_ROW) return true;
  if (code != SQLITE_DONE) database_.fail(code);
  return false;
}

void Statement::reset() { sqlite3_reset(handle_); }

std::string Statement::text(int column) const {
  const auto* bytes = reinterpret_cast<const char*>(sqlite3_column_text(handle_, column));
  return bytes ? std::string(bytes, static_cast<std::size_t>(sqlite3_column_bytes(handle_, column))) : "";
}

std::int64_t Statement::whole(int column) const { return sqlite3_column_int64(handle_, column); }

double Statement::number(int column) const { return sqlite3_column_double(handle_, column); }

std::optional<double> Statement::optional_number(int column) const {
  if (sqlite3_column_type(handle_, column) == SQLITE_NULL) return std::nullopt;
  return number(column);
}

Transaction::~Transaction() {
  if (!open_) return;
  try {
    database_.run("ROLLBACK");
  } catch (const std::exception&) {
    // SQLite has rolled back by itself where an error ended the transaction.
  }
}

void Transaction::commit() {
  database_.run("COMMIT");
  open_ = false;
}

}  // namespace crossover
