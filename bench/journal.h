// DIR/journal.jsonl: what is measured and by whom, then one line per finished sample, each on disk before the next sample starts.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bench/process/process_identity.h"
#include "bench/sample.h"

namespace crossover {

// What the samples of a journal have in common. A run is continued only by one that says the same.
struct JournalHead {
  std::string plan_hash;
  std::string scenario;  // JSON as run; empty in a journal of version 1, which did not keep it
};

struct JournalContent {
  JournalHead head;
  std::string program;                    // that began it: version and commit; empty in version 1
  std::optional<ProcessIdentity> writer;  // the last one
  std::vector<Sample> samples;
  std::size_t whole_bytes = 0;  // behind the last whole line; what follows was cut short by a kill or a power failure
};

// Both versions of the format. A text without one whole line is an empty content with 0 whole bytes. std::runtime_error names the line
// that is damaged, a sample that is there twice, or the format of another version.
JournalContent parse_journal(std::string_view text, const std::string& name);

// flock(2), or what a test puts in its place.
using LockCall = int (*)(int descriptor, int operation);

class Journal {
 public:
  // Starts a journal, or continues the one in the folder where `resume` is set. std::runtime_error: a journal is there and resume was
  // not asked for; another process writes it (named); it belongs to another plan (with what differs in the scenario), to another
  // version of the format, or is damaged before its last line; the folder cannot be written. A last line cut short is dropped.
  // Where the file system has no locks, the process that the journal names as its last writer stands for one.
  Journal(const std::filesystem::path& folder, const JournalHead& head, bool resume, LockCall lock = nullptr);
  ~Journal();  // takes a journal without samples away again
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  // Room on the disk for one more line, asked for before its sample is taken. std::runtime_error when there is none; does nothing
  // where the file system cannot reserve.
  void reserve();
  // Written and synced. std::runtime_error when the disk is full; the file then ends with the line before.
  void append(const Sample& sample);
  const std::vector<Sample>& samples() const { return samples_; }
  const std::filesystem::path& path() const { return path_; }

 private:
  void open_and_lock(LockCall lock, bool& locked);
  void start(const JournalHead& head);
  void go_on(const std::string& text, const JournalHead& head, bool locked);
  void check_same(const JournalContent& content, const JournalHead& head) const;
  void check_no_writer(const JournalContent& content) const;
  void write_line(const std::string& line);
  void cut_back() const;
  [[noreturn]] void fail(int why) const;

  std::filesystem::path path_;
  int descriptor_ = -1;
  bool fresh_ = false;  // started here, not continued
  std::int64_t end_ = 0, reserved_end_ = 0;  // bytes
  std::int64_t longest_line_ = 0;
  std::vector<Sample> samples_;
};

bool holds_journal(const std::filesystem::path& folder);

}  // namespace crossover
