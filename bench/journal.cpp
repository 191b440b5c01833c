#include "bench/journal.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>
#include <thread>

#include "bench/build_info.h"
#include "bench/json_text.h"
#include "bench/whole_file.h"
#include "kernels/trace.h"

namespace crossover {

namespace {

using nlohmann::json;

constexpr const char* kSchema = "crossover.journal/2";
constexpr const char* kFirstSchema = "crossover.journal/1";  // had no scenario and no writers
constexpr std::string_view kHeadStart = "{\"schema\":\"crossover.journal/";
constexpr std::size_t kMaxJournalBytes = std::size_t{4} << 30;
constexpr std::int64_t kReserve_bytes = 64 << 10;
constexpr std::size_t kNamedDifferences = 3;

std::filesystem::path journal_path(const std::filesystem::path& folder) { return folder / "journal.jsonl"; }

std::string this_program() {
  const json build = json::parse(build_info_json());
  return fmt::format("crossover {}{}{}", build.value("version", ""), build.contains("commit") ? " " + build.value("commit", "") : "",
                     build.value("dirty", false) ? "+" : "");
}

nlohmann::ordered_json writer_json(const ProcessIdentity& process) {
  return {{"pid", process.pid}, {"host", process.host}, {"boot_id", process.boot_id}, {"started_ticks", process.started_ticks}};
}

std::string text_at(const json& object, const char* name) {
  const auto it = object.find(name);
  return it != object.end() && it->is_string() ? it->get<std::string>() : "";
}

// 0 for what is no whole number that fits.
std::int64_t whole_at(const json& object, const char* name, std::int64_t most) {
  const auto it = object.find(name);
  if (it == object.end() || !it->is_number_integer()) return 0;
  const auto value = it->get<std::int64_t>();
  return value < 0 || value > most ? 0 : value;
}

std::optional<ProcessIdentity> writer_from(const json& line) {
  const auto it = line.find("writer");
  if (it == line.end() || !it->is_object()) return std::nullopt;
  return ProcessIdentity{static_cast<pid_t>(whole_at(*it, "pid", std::numeric_limits<pid_t>::max())), text_at(*it, "host"),
                         text_at(*it, "boot_id"), whole_at(*it, "started_ticks", std::numeric_limits<std::int64_t>::max())};
}

void read_head(const json& line, const std::string& name, JournalContent& content) {
  const std::string schema = line.is_object() ? text_at(line, "schema") : "";
  if (!schema.starts_with("crossover.journal/"))
    throw std::runtime_error(fmt::format("{} is no journal of crossover; choose another --out", name));
  content.program = text_at(line, "program");
  if (schema != kSchema && schema != kFirstSchema)
    throw std::runtime_error(fmt::format("{} was written by {} in the format {}; this build reads {} and {}: continue with that version, or choose another --out",
                                         name, content.program.empty() ? "another version" : content.program, schema, kFirstSchema, kSchema));
  content.head.plan_hash = text_at(line, "plan_hash");
  if (const auto scenario = line.find("scenario"); scenario != line.end()) content.head.scenario = scenario->dump();
  content.writer = writer_from(line);
}

// Behind the last whole line. Blocks that a power failure left unwritten are read as zeros and belong to no line.
std::size_t whole_bytes_of(std::string_view text) {
  const auto behind_newline = [&](std::size_t from) {
    const std::size_t newline = from == 0 ? std::string_view::npos : text.rfind('\n', from - 1);
    return newline == std::string_view::npos ? 0 : newline + 1;
  };
  std::size_t end = behind_newline(text.size());
  while (end > 0) {
    const std::size_t start = behind_newline(end - 1);
    if (text.substr(start, end - start).find('\0') == std::string_view::npos) break;
    end = start;
  }
  return end;
}

// "/plan/seed was 1 and is 2".
std::string difference(const json& change, const json& before) {
  const std::string where = change["path"], what = change["op"];
  const auto brief = [](const json& value) {
    std::string text = value.dump(-1, ' ', false, json::error_handler_t::replace);
    return text.size() > 60 ? text.substr(0, 57) + "..." : text;
  };
  if (what == "add") return fmt::format("{} is new ({})", where, brief(change["value"]));
  const std::string old = brief(before.at(json::json_pointer(where)));
  return what == "remove" ? fmt::format("{} was {} and is gone", where, old) : fmt::format("{} was {} and is {}", where, old, brief(change["value"]));
}

std::string differences(const std::string& before, const std::string& now) {
  const json old = json::parse(before);
  const json changes = json::diff(old, json::parse(now));
  std::string text;
  for (std::size_t i = 0; i < std::min(changes.size(), kNamedDifferences); ++i) text += (i == 0 ? "" : ", ") + difference(changes[i], old);
  if (changes.size() > kNamedDifferences) text += fmt::format(" and {} more", changes.size() - kNamedDifferences);
  return text;
}

}  // namespace

bool holds_journal(const std::filesystem::path& folder) { return std::filesystem::exists(journal_path(folder)); }

JournalContent parse_journal(std::string_view text, const std::string& name) {
  JournalContent content;
  content.whole_bytes = whole_bytes_of(text);
  std::set<int> positions;
  int number = 0;
  for (std::size_t start = 0; start < content.whole_bytes;) {
    const std::size_t end = text.find('\n', start);
    const std::string what = fmt::format("line {} of {}", ++number, name);
    const json line = parse_json(text.substr(start, end - start), what);
    start = end + 1;
    if (number == 1) {
      read_head(line, name, content);
    } else if (line.is_object() && line.contains("resumed_at")) {
      content.writer = writer_from(line);
    } else {
      try {
        content.samples.push_back(sample_from_json(line));
      } catch (const std::runtime_error& error) {
        throw std::runtime_error(fmt::format("{}: {}; choose another --out", what, error.what()));
      }
      if (!positions.insert(content.samples.back().position).second)
        throw std::runtime_error(fmt::format("{} is sample {} a second time; two programs wrote this file, choose another --out", what,
                                             content.samples.back().position));
    }
  }
  return content;
}

Journal::Journal(const std::filesystem::path& folder, const JournalHead& head, bool resume, LockCall lock) : path_(journal_path(folder)) {
  std::error_code failed;
  std::filesystem::create_directories(folder, failed);
  if (failed) throw std::runtime_error(fmt::format("cannot make the output folder {}: {}", folder.string(), failed.message()));
  bool locked = true;
  open_and_lock(lock ? lock : flock, locked);
  try {
    const std::string text = read_text_file(path_.string(), kMaxJournalBytes);
    // A head that a kill cut short: nothing was measured, so nothing is lost by starting again.
    const bool cut_head = text.find('\n') == std::string::npos &&
                          (text.starts_with(kHeadStart) || kHeadStart.starts_with(text) || text.find_first_not_of('\0') == std::string::npos);
    if (!cut_head && !resume)
      throw std::runtime_error(fmt::format("{} holds the journal of another run; continue it with --resume or choose another --out", folder.string()));
    if (cut_head) start(head);
    else go_on(text, head, locked);
  } catch (...) {
    if (fresh_) unlink(path_.c_str());
    close(descriptor_);
    throw;
  }
}

Journal::~Journal() {
  if (fresh_ && samples_.empty()) unlink(path_.c_str());  // nothing came of it, so it must not stand in the way of the next try
  else if (reserved_end_ > end_) cut_back();  // gives back what was reserved
  close(descriptor_);
}

void Journal::open_and_lock(LockCall lock, bool& locked) {
  descriptor_ = open(path_.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (descriptor_ < 0) throw std::runtime_error(fmt::format("cannot write {}: {}", path_.string(), std::strerror(errno)));
  // What a killed run had started ends with it, but a moment later, and until then holds its lock.
  constexpr double kLeftoversEnd_s = 10;
  std::string who = "another process";
  for (const double begin_s = monotonic_s(); monotonic_s() < begin_s + kLeftoversEnd_s;) {
    if (lock(descriptor_, LOCK_EX | LOCK_NB) == 0) return;
    locked = errno == EWOULDBLOCK;
    if (!locked) return;
    try {
      const JournalContent content = parse_journal(read_text_file(path_.string(), kMaxJournalBytes), path_.string());
      if (content.writer) who = fmt::format("process {} on {}", content.writer->pid, content.writer->host);
      if (content.writer && (is_running(*content.writer) || content.writer->host != this_process().host)) break;
    } catch (const std::runtime_error&) {  // being written, and only asked for a name
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  close(descriptor_);
  throw std::runtime_error(fmt::format("{} is writing {}; wait for it, end it, or choose another --out", who, path_.string()));
}

void Journal::start(const JournalHead& head) {
  fresh_ = true;
  if (ftruncate(descriptor_, 0) != 0) fail(errno);
  nlohmann::ordered_json line{{"schema", kSchema}, {"plan_hash", head.plan_hash}, {"started_at", utc_now()},
                              {"program", this_program()}, {"writer", writer_json(this_process())}};
  if (!head.scenario.empty()) line["scenario"] = nlohmann::ordered_json::parse(head.scenario);
  write_line(line.dump());
  sync_folder(path_.parent_path());
}

void Journal::go_on(const std::string& text, const JournalHead& head, bool locked) {
  JournalContent content = parse_journal(text, path_.string());
  if (content.whole_bytes == 0) throw std::runtime_error(fmt::format("{} is no journal of crossover; choose another --out", path_.string()));
  if (!locked) check_no_writer(content);
  check_same(content, head);
  end_ = static_cast<std::int64_t>(content.whole_bytes);
  samples_ = std::move(content.samples);
  if (content.whole_bytes != text.size() && ftruncate(descriptor_, end_) != 0) fail(errno);
  write_line(nlohmann::ordered_json{{"resumed_at", utc_now()}, {"program", this_program()}, {"writer", writer_json(this_process())}}.dump());
}

void Journal::check_no_writer(const JournalContent& content) const {
  if (!content.writer || content.writer->pid == getpid() || !is_running(*content.writer)) return;
  throw std::runtime_error(fmt::format("process {} on {} is writing {}; wait for it, end it, or choose another --out", content.writer->pid,
                                       content.writer->host, path_.string()));
}

void Journal::check_same(const JournalContent& content, const JournalHead& head) const {
  if (content.head.plan_hash == head.plan_hash) return;
  std::string what = content.head.scenario.empty() || head.scenario.empty() ? "the scenario or an option changed"
                                                                            : differences(content.head.scenario, head.scenario);
  if (what.empty()) what = fmt::format("{} plans the same scenario in another order than {}", this_program(), content.program);
  throw std::runtime_error(fmt::format("{} belongs to another plan ({}, not {}): {}; undo that to go on, or choose another --out", path_.string(),
                                       content.head.plan_hash.substr(0, 12), head.plan_hash.substr(0, 12), what));
}

void Journal::fail(int why) const {
  throw std::runtime_error(fmt::format("cannot write {}: {}", path_.string(), write_trouble(path_, why)));
}

// A failure costs some blocks, or leaves a half line, which the next reader drops.
void Journal::cut_back() const { [[maybe_unused]] const int failed = ftruncate(descriptor_, end_); }

void Journal::reserve() {
  const std::int64_t wanted = end_ + std::max(kReserve_bytes, 2 * longest_line_);
  if (wanted <= reserved_end_) return;
  while (fallocate(descriptor_, FALLOC_FL_KEEP_SIZE, end_, wanted - end_ + kReserve_bytes) != 0) {
    if (errno == EINTR) continue;
    if (errno == ENOSPC || errno == EDQUOT || errno == EFBIG) fail(errno);
    return;
  }
  reserved_end_ = wanted + kReserve_bytes;
}

void Journal::write_line(const std::string& line) {
  const std::string text = line + "\n";
  longest_line_ = std::max(longest_line_, static_cast<std::int64_t>(text.size()));
  int why = 0;
  for (std::size_t done = 0; why == 0 && done < text.size();) {
    const ssize_t n = write(descriptor_, text.data() + done, text.size() - done);
    if (n >= 0) done += static_cast<std::size_t>(n);
    else if (errno != EINTR) why = errno;
  }
  if (why == 0 && fsync(descriptor_) != 0 && errno != EINVAL && errno != EROFS) why = errno;
  if (why != 0) {
    cut_back();
    fail(why);
  }
  end_ += static_cast<std::int64_t>(text.size());
}

void Journal::append(const Sample& sample) {
  write_line(sample_to_json(sample).dump(-1, ' ', false, json::error_handler_t::replace));
  samples_.push_back(sample);
}

}  // namespace crossover
