#include "bench/process/stack_signal.h"

#include <execinfo.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <ctime>

namespace crossover {

namespace {

// All of this runs in signal handlers: no allocation, no locks, no stdio.

constexpr int kThreadSignal = SIGUSR2;
constexpr int kMaxFrames = 64;
constexpr int kAnswerTries = 200;  // of 1 ms, for a thread to print its stack

// A signal handler has no argument to carry state in.
std::atomic<pid_t> g_answered{0};
static_assert(std::atomic<pid_t>::is_always_lock_free);
alignas(16) std::array<char, 64 << 10> g_crash_stack;  // for a crash that has no stack left

void say(const char* text) { [[maybe_unused]] const ssize_t n = write(2, text, std::strlen(text)); }

void say(pid_t number) {
  char digits[24];
  char* at = digits + sizeof digits - 1;
  *at = '\0';
  do *--at = static_cast<char>('0' + number % 10);
  while ((number /= 10) > 0);
  say(at);
}

pid_t this_thread() { return static_cast<pid_t>(syscall(SYS_gettid)); }

void say_stack() {
  say("thread "), say(this_thread()), say(" ");
  char name[32] = {};
  if (const int comm = open("/proc/thread-self/comm", O_RDONLY | O_CLOEXEC); comm >= 0) {
    [[maybe_unused]] const ssize_t n = read(comm, name, sizeof name - 1);
    close(comm);
  }
  say(name[0] != '\0' ? name : "\n");
  void* frames[kMaxFrames];
  backtrace_symbols_fd(frames, backtrace(frames, kMaxFrames), 2);
}

void on_thread_signal(int) {
  const int error = errno;
  say_stack();
  g_answered.store(this_thread());
  errno = error;
}

void ask_thread(pid_t thread) {
  g_answered.store(0);
  if (syscall(SYS_tgkill, getpid(), thread, kThreadSignal) != 0) return;  // it has ended
  for (int i = 0; i < kAnswerTries && g_answered.load() != thread; ++i) {
    const timespec one_ms{0, 1'000'000};
    nanosleep(&one_ms, nullptr);
  }
  if (g_answered.load() != thread) say("thread "), say(thread), say(" does not answer\n");
}

struct Entry {  // of getdents64(2)
  std::uint64_t inode;
  std::int64_t next;
  std::uint16_t size;
  std::uint8_t type;
  char name[1];
};

void ask_other_threads() {
  const int tasks = open("/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (tasks < 0) return;
  alignas(Entry) char block[4096];
  for (long size = 0; (size = syscall(SYS_getdents64, tasks, block, sizeof block)) > 0;)
    for (long at = 0; at < size;) {
      const Entry* entry = reinterpret_cast<const Entry*>(block + at);
      at += entry->size;
      pid_t thread = 0;
      for (const char* c = entry->name; *c >= '0' && *c <= '9'; ++c) thread = 10 * thread + (*c - '0');
      if (thread > 0 && thread != this_thread()) ask_thread(thread);
    }
  close(tasks);
}

void on_stack_signal(int) {
  const int error = errno;
  say(kStacksBegin), say(getpid()), say("\n");
  say_stack();
  ask_other_threads();
  say(kStacksEnd);
  errno = error;
}

void on_crash(int number) {
  say(kStacksBegin), say(getpid()), say("\n");
  say_stack();
  say(kStacksEnd);
  raise(number);  // SA_RESETHAND: once this returns it ends the process
}

void handle(int number, void (*handler)(int), int flags) {
  struct sigaction before {};
  if (sigaction(number, nullptr, &before) != 0 || before.sa_handler != SIG_DFL) return;
  struct sigaction action {};
  action.sa_handler = handler;
  sigemptyset(&action.sa_mask);
  action.sa_flags = flags;
  sigaction(number, &action, nullptr);
}

}  // namespace

void print_stacks_on_signals() {
  void* frame = nullptr;
  backtrace(&frame, 1);  // the first call loads a library, which a handler must not
  stack_t stack{};
  stack.ss_sp = g_crash_stack.data(), stack.ss_size = g_crash_stack.size();
  sigaltstack(&stack, nullptr);
  handle(kStackSignal, on_stack_signal, SA_RESTART);
  handle(kThreadSignal, on_thread_signal, SA_RESTART);
  for (const int number : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT})
    handle(number, on_crash, static_cast<int>(SA_ONSTACK | SA_RESETHAND));
}

}  // namespace crossover
