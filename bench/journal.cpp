#include "bench/journal.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "bench/json_text.h"

namespace crossover {

namespace {

constexpr const char* kSchema = "crossover.journal/1";
constexpr std::size_t kMaxJournalBytes = std::size_t{4} << 30;

std::filesystem::path journal_path(const std::filesystem::path& folder) { return folder / "journal.jsonl"; }

}  // namespace

bool holds_journal(const std::filesystem::path& folder) { return std::filesystem::exists(journal_path(folder)); }

Journal::Journal(const std::filesystem::path& folder, const std::string& plan_hash, bool resume) : path_(journal_path(folder)) {
  std::error_code failed;
  std::filesystem::create_directories(folder, failed);
  if (failed) throw std::runtime_error(fmt::format("cannot make the output folder {}: {}", folder.string(), failed.message()));
  const bool there = std::filesystem::is_regular_file(path_) && std::filesystem::file_size(path_) > 0;
  if (there && !resume)
    throw std::runtime_error(
        fmt::format("{} holds the journal of another run; continue it with --resume or choose another --out", folder.string()));
  open_and_lock();
  try {
    if (there) read(plan_hash);
    else fresh_ = true, write_line(nlohmann::json{{"schema", kSchema}, {"plan_hash", plan_hash}, {"started_at", utc_now()}}.dump());
  } catch (...) {
    close(descriptor_);
    throw;
  }
}

Journal::~Journal() {
  if (fresh_ && samples_.empty()) unlink(path_.c_str());  // nothing came of it, so it must not stand in the way of the next try
  close(descriptor_);
}

void Journal::open_and_lock() {
  descriptor_ = open(path_.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (descriptor_ < 0) throw std::runtime_error(fmt::format("cannot write {}: {}", path_.string(), std::strerror(errno)));
  if (flock(descriptor_, LOCK_EX | LOCK_NB) == 0) return;
  close(descriptor_);
  throw std::runtime_error(fmt::format("another process is writing {}; wait for it or choose another --out", path_.string()));
}

void Journal::read(const std::string& plan_hash) {
  const std::string text = read_text_file(path_.string(), kMaxJournalBytes);
  const std::size_t whole_bytes = text.rfind('\n') == std::string::npos ? 0 : text.rfind('\n') + 1;
  int number = 0;
  for (std::size_t start = 0; start < whole_bytes; ++number) {
    const std::size_t end = text.find('\n', start);
    const std::string what = fmt::format("line {} of {}", number + 1, path_.string());
    const nlohmann::json line = parse_json(std::string_view(text).substr(start, end - start), what);
    start = end + 1;
    if (number > 0) {
      samples_.push_back(sample_from_json(line));
      continue;
    }
    if (!line.is_object() || line.value("schema", nlohmann::json()) != kSchema)
      throw std::runtime_error(fmt::format("{} is no journal of crossover; choose another --out", path_.string()));
    if (line.value("plan_hash", nlohmann::json()) != plan_hash)
      throw std::runtime_error(
          fmt::format("{} belongs to another plan (the scenario or an option changed); choose another --out", path_.string()));
  }
  if (number == 0) throw std::runtime_error(fmt::format("{} has no first line; remove it and start again", path_.string()));
  if (whole_bytes != text.size() && ftruncate(descriptor_, static_cast<off_t>(whole_bytes)) != 0)
    throw std::runtime_error(fmt::format("cannot write {}: {}", path_.string(), std::strerror(errno)));
}

void Journal::write_line(const std::string& line) {
  const std::string text = line + "\n";
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t n = write(descriptor_, text.data() + done, text.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw std::runtime_error(fmt::format("cannot write {}: {}", path_.string(), std::strerror(errno)));
    done += static_cast<std::size_t>(n);
  }
  if (fsync(descriptor_) != 0 && errno != EINVAL && errno != EROFS)
    throw std::runtime_error(fmt::format("cannot write {}: {}", path_.string(), std::strerror(errno)));
}

void Journal::append(const Sample& sample) {
  write_line(sample_to_json(sample).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  samples_.push_back(sample);
}

}  // namespace crossover
