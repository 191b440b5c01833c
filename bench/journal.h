// DIR/journal.jsonl: the plan's identity, then one line per finished sample, each on disk before the next sample starts.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "bench/sample.h"

namespace crossover {

class Journal {
 public:
  // Starts a journal, or continues the one in the folder where `resume` is set. std::runtime_error: a journal is there and resume was
  // not asked for, it belongs to another plan, another process writes it, it is damaged before its last line, or the folder cannot
  // be written. A last line cut short by a kill is dropped.
  Journal(const std::filesystem::path& folder, const std::string& plan_hash, bool resume);
  ~Journal();  // takes a journal without samples away again
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  void append(const Sample& sample);  // written and synced; std::runtime_error when the disk is full
  const std::vector<Sample>& samples() const { return samples_; }
  const std::filesystem::path& path() const { return path_; }

 private:
  void open_and_lock();
  void read(const std::string& plan_hash);
  void write_line(const std::string& line);

  std::filesystem::path path_;
  int descriptor_ = -1;
  bool fresh_ = false;  // started here, not continued
  std::vector<Sample> samples_;
};

bool holds_journal(const std::filesystem::path& folder);

}  // namespace crossover
