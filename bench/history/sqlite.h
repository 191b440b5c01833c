// SQLite behind as much of an interface as we need. Errors are std::runtime_error and name the file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

struct sqlite3;
struct sqlite3_stmt;

namespace crossover {


// Another connection held a lock that was needed, and went on holding it for as long as we wait.
struct DatabaseBusy : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class Database {
 public:
  // `create` makes the file where it is missing. Another connection's lock is waited for; then the error says who is in the way.
  Database(const std::filesystem::path& file, bool create);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  void run(const std::string& sql);  // one or several statements without results
  std::int64_t last_row() const;     // id of the row inserted last
  const std::filesystem::path& file() const { return file_; }

 private:
  friend class Statement;
  [[noreturn]] void fail(int code) const;

  std::filesystem::path file_;
  sqlite3* handle_ = nullptr;
};

// One prepared statement; parameters and columns count from 1 and 0, as in SQLite.
class Statement {
 public:
  Statement(Database& database, const std::string& sql);
  ~Statement();
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  Statement& bind(int parameter, std::string_view text);
  Statement& bind(int parameter, std::int64_t value);
  Statement& bind(int parameter, double value);
  Statement& bind_null(int parameter);
  template <typename T>
  Statement& bind(int parameter, const std::optional<T>& value) {
    return value ? bind(parameter, *value) : bind_null(parameter);
  }

  bool step();   // true: there is a row to read
  void reset();  // to be stepped again with other parameters

  std::string text(int column) const;
  std::int64_t whole(int column) const;
  double number(int column) const;
  std::optional<double> optional_number(int column) const;

 private:
  Database& database_;
  sqlite3_stmt* handle_ = nullptr;
};

// Everything read belongs to one moment, and everything written is there as a whole or not at all: rolled back unless committed.
class Transaction {
 public:
  enum Kind { kReads, kWrites };
  Transaction(Database& database, Kind kind) : database_(database) { database_.run(kind == kReads ? "BEGIN" : "BEGIN IMMEDIATE"); }
  ~Transaction();
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  void commit();

 private:
  Database& database_;
  bool open_ = true;
};

}  // namespace crossover
