#include "bench/process/interrupt.h"

#include <atomic>

namespace crossover {

namespace {

// A signal handler has no argument to carry state in.
std::atomic<bool> g_interrupted{false};
static_assert(std::atomic<bool>::is_always_lock_free);

extern "C" void note_signal(int) { g_interrupted.store(true); }

}  // namespace

InterruptGuard::InterruptGuard() {
  g_interrupted.store(false);
  struct sigaction action {};
  action.sa_handler = note_signal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = static_cast<int>(SA_RESETHAND);  // no SA_RESTART: waits return
  sigaction(SIGINT, &action, &old_int_);
  sigaction(SIGTERM, &action, &old_term_);
  action.sa_handler = SIG_IGN;  // a limit on file sizes is then an error of write, which is reported, and not the end of the program
  action.sa_flags = 0;
  sigaction(SIGXFSZ, &action, &old_file_size_);
}

InterruptGuard::~InterruptGuard() {
  sigaction(SIGINT, &old_int_, nullptr);
  sigaction(SIGTERM, &old_term_, nullptr);
  sigaction(SIGXFSZ, &old_file_size_, nullptr);
  g_interrupted.store(false);
}

bool interrupted() { return g_interrupted.load(); }

}  // namespace crossover
