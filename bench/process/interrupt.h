// Ctrl-C and SIGTERM as a question that loops ask: everything finished is kept, children are ended, the caller says how to resume.
#pragma once

#include <csignal>

namespace crossover {

// While one lives, SIGINT and SIGTERM set a flag instead of ending the program; a second SIGINT ends it as usual.
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

 private:
  struct sigaction old_int_ {}, old_term_ {}, old_file_size_ {};
};

bool interrupted();

}  // namespace crossover
