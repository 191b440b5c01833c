// One line of progress on stderr, only when it is a terminal: what is running, done/total and the time left.
#pragma once

#include <cstdint>
#include <string>

namespace crossover {

class Progress {
 public:
  explicit Progress(bool quiet = false);
  ~Progress();  // clears the line
  void show(const std::string& what, std::int64_t done, std::int64_t total);  // at most 10 times a second

 private:
  bool shown_ = false, active_;
  double started_s_, last_s_ = 0;
};

}  // namespace crossover
