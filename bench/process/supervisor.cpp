#include "bench/process/supervisor.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cerrno>
#include <csignal>
#include <ctime>

namespace crossover {

namespace {

// Everything here runs in a fork of a process that may have threads: no allocation, no locks, no stdio.

constexpr int kLine = 3;         // where the supervisor keeps its line
constexpr int kTrouble = 4, kGo = 5;  // and its child these, until the exec
constexpr int kMaxRounds = 1000;  // of killing what the killed leave behind

[[noreturn]] void give_up(int fd, int step) {
  const Trouble trouble{step, errno};
  if (write(fd, &trouble, sizeof trouble) < 0) _exit(126);
  _exit(127);
}

void close_from(unsigned first) {
  if (syscall(SYS_close_range, first, ~0U, 0U) == 0) return;
  for (int fd = static_cast<int>(first); fd < 4096; ++fd) close(fd);
}

[[noreturn]] void become(const Launch& launch, pid_t supervisor) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != supervisor) _exit(126);  // it went before the line above
  // Above 9 first: the descriptors that the parent holds may be the numbers that the child needs.
  const int trouble = fcntl(launch.trouble.write.get(), F_DUPFD_CLOEXEC, 10), go = fcntl(launch.go.read.get(), F_DUPFD_CLOEXEC, 10);
  const int sources[] = {fcntl(launch.input.get(), F_DUPFD_CLOEXEC, 10), fcntl(launch.output.write.get(), F_DUPFD_CLOEXEC, 10),
                         fcntl(launch.error.write.get(), F_DUPFD_CLOEXEC, 10),
                         launch.result.get() >= 0 ? fcntl(launch.result.get(), F_DUPFD_CLOEXEC, 10) : -1};
  for (int target = 0; target < 4; ++target) {
    if (sources[target] >= 0) dup2(sources[target], target);
    else close(target);
  }
  // The rest is closed here and not by the exec: while this waits to be let go, its copies of the harness's ends would keep the supervisor
  // and itself from seeing that the harness has ended.
  dup3(trouble, kTrouble, O_CLOEXEC);
  dup3(go, kGo, O_CLOEXEC);
  close_from(kGo + 1);
  if (!launch.folder.empty() && chdir(launch.folder.c_str()) != 0) give_up(kTrouble, 0);
  if (launch.pinned && sched_setaffinity(0, sizeof launch.cpus, &launch.cpus) != 0) give_up(kTrouble, 1);
  if (launch.priority != 0 && setpriority(PRIO_PROCESS, 0, launch.priority) != 0) give_up(kTrouble, 2);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  for (const int number : {SIGINT, SIGTERM, SIGPIPE, SIGQUIT, SIGXFSZ}) signal(number, SIG_DFL);
  char byte = 0;
  ssize_t n = 0;
  do n = read(kGo, &byte, 1);
  while (n < 0 && errno == EINTR);
  if (n != 1) _exit(126);  // the harness is gone
  execve(launch.program.c_str(), launch.argv.data(), launch.environment.data());
  give_up(kTrouble, 3);
}

double now_s() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// Nobody may be there to read it; what is below is ended all the same.
void tell(const Report& report) {
  while (send(kLine, &report, sizeof report, MSG_NOSIGNAL) < 0 && errno == EINTR) {}
}

// Kills every child there is; false when there was none. The list is "12 13 ", and what does not fit is of the next round.
bool kill_children() {
  const int list = open("/proc/thread-self/children", O_RDONLY | O_CLOEXEC);
  if (list < 0) return false;
  char text[4096];
  const ssize_t size = read(list, text, sizeof text);
  close(list);
  bool any = false;
  pid_t pid = 0;
  for (ssize_t i = 0; i < size; ++i) {
    if (text[i] >= '0' && text[i] <= '9') {
      pid = 10 * pid + (text[i] - '0');
    } else if (pid > 0) {
      kill(pid, SIGKILL);
      any = true, pid = 0;
    }
  }
  return any;
}

// What loses its parent by this is adopted and is of the next round.
void end_descendants() {
  for (int round = 0; round < kMaxRounds && kill_children(); ++round) {
    int status = 0;
    while (waitpid(-1, &status, 0) < 0 && errno == EINTR) {}
    while (waitpid(-1, &status, WNOHANG) > 0) {}
  }
}

// Until the program has ended and the harness has looked at it; false when the harness has ended.
bool wait_for_end(pid_t pid, int exit, double& ended_s) {
  for (bool looked_at = false; ended_s == 0 || !looked_at;) {
    pollfd watched[] = {{ended_s == 0 ? exit : -1, POLLIN, 0}, {kLine, POLLIN, 0}};
    if (poll(watched, 2, -1) < 0) continue;
    if ((watched[0].revents & POLLIN) != 0) ended_s = now_s();
    if (watched[1].revents == 0) continue;
    std::uint8_t order = 0;
    const ssize_t n = read(kLine, &order, 1);
    if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN)) return false;
    if (n < 0) continue;
    if (order == kLookedAt) looked_at = true;
    else if ((order & kLeaderOnly) != 0) kill(pid, order & ~kLeaderOnly);
    else killpg(pid, order);
  }
  return true;
}

}  // namespace

const char* trouble_text(int step) {
  constexpr const char* kSteps[] = {"entering its folder", "setting its cores", "setting its priority", "running it"};
  return step >= 0 && step < 4 ? kSteps[step] : "starting it";
}

void supervise(const Launch& launch, int line) {
  setpgid(0, 0);  // a Ctrl-C at the terminal is the harness's
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  const pid_t self = getpid();
  Report report;
  const pid_t pid = fork();
  if (pid == 0) become(launch, self);
  report.pid = pid < 0 ? -errno : pid;
  if (pid > 0) setpgid(pid, pid);  // in both, because either may come first
  for (const int number : {SIGINT, SIGTERM, SIGQUIT, SIGHUP}) signal(number, SIG_IGN);
  dup2(line, kLine);
  close_from(kLine + 1);  // pipes whose end the harness waits for, and the journal whose lock it holds
  for (int fd = 0; fd < kLine; ++fd) close(fd);
  tell(report);
  if (pid < 0) _exit(127);
  const int exit = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  const bool asked = exit < 0 || wait_for_end(pid, exit, report.ended_s);
  if (exit >= 0) killpg(pid, SIGKILL);  // before the leader is reaped, so that the number cannot be somebody else's
  while (wait4(pid, &report.status, 0, &report.usage) < 0 && errno == EINTR) {}
  if (report.ended_s == 0) report.ended_s = now_s();
  end_descendants();
  report.ended = true;
  if (asked) tell(report);
  _exit(0);
}

}  // namespace crossover
