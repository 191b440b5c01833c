#include "bench/process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "bench/interrupt.h"
#include "bench/perf_counters.h"
#include "bench/process_tree.h"
#include "kernels/trace.h"

namespace crossover {

namespace {

constexpr double kTermGrace_s = 0.3;   // between SIGTERM and SIGKILL
constexpr double kDrain_s = 0.2;       // for output still in a pipe after the exit
constexpr double kFirstLook_s = 0.002, kLongestWait_s = 0.05;  // between looks at the memory
constexpr std::size_t kMaxResultBytes = std::size_t{256} << 20;

class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept { return std::swap(fd_, other.fd_), *this; }
  ~Descriptor() { close(); }
  int get() const { return fd_; }
  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }

 private:
  int fd_;
};

[[noreturn]] void fail(const char* what) {
  throw std::runtime_error(fmt::format("cannot start a process: {}: {}", what, std::strerror(errno)));
}

struct Pipe {
  Descriptor read, write;
  Pipe() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) fail("pipe");
    read = Descriptor(ends[0]), write = Descriptor(ends[1]);
  }
};

Descriptor memory_file(const char* name, const std::string& content) {
  Descriptor file(memfd_create(name, MFD_CLOEXEC));
  if (file.get() < 0) fail("memfd_create");
  for (std::size_t done = 0; done < content.size();) {
    const ssize_t n = write(file.get(), content.data() + done, content.size() - done);
    if (n < 0) fail("writing its input");
    done += static_cast<std::size_t>(n);
  }
  lseek(file.get(), 0, SEEK_SET);
  return file;
}

std::string whole_file(const Descriptor& file) {
  const off_t bytes = lseek(file.get(), 0, SEEK_END);
  std::string text(bytes > 0 ? std::min(static_cast<std::size_t>(bytes), kMaxResultBytes) : 0, '\0');
  std::size_t done = 0;
  while (done < text.size()) {
    const ssize_t n = pread(file.get(), text.data() + done, text.size() - done, static_cast<off_t>(done));
    if (n <= 0) break;
    done += static_cast<std::size_t>(n);
  }
  text.resize(done);
  return text;
}

std::string find_program(const std::string& name, const std::vector<std::string>& environment) {
  if (name.empty()) throw std::runtime_error("cannot start a process: its name is empty");
  if (name.find('/') != std::string::npos) return name;
  std::string path = "/usr/local/bin:/usr/bin:/bin";
  for (const std::string& entry : environment)
    if (entry.starts_with("PATH=")) path = entry.substr(5);
  for (std::size_t start = 0; start <= path.size();) {
    const std::size_t end = std::min(path.find(':', start), path.size());
    const std::string candidate = (end > start ? path.substr(start, end - start) : ".") + "/" + name;
    if (access(candidate.c_str(), X_OK) == 0 && !std::filesystem::is_directory(candidate)) return candidate;
    start = end + 1;
  }
  throw std::runtime_error(fmt::format("cannot start '{}': no such program in PATH ({})", name, path));
}

std::vector<char*> pointers(const std::vector<std::string>& words) {
  std::vector<char*> list;
  for (const std::string& word : words) list.push_back(const_cast<char*>(word.c_str()));
  list.push_back(nullptr);
  return list;
}

// Everything the child needs, made before the fork: between fork and exec only async-signal-safe calls are allowed.
struct Launch {
  std::string program, folder;
  std::vector<char*> argv, environment;
  Descriptor input, result;
  Pipe output, error, trouble;  // trouble: step and errno when the exec did not happen
  Pipe go;                      // the child waits here until the parent watches it
  cpu_set_t cpus;
  bool pinned;
  int priority;
};

struct Trouble { int step, error; };
constexpr const char* kSteps[] = {"entering its folder", "setting its cores", "setting its priority", "running it"};

[[noreturn]] void give_up(int fd, int step) {
  const Trouble trouble{step, errno};
  if (write(fd, &trouble, sizeof trouble) < 0) _exit(126);
  _exit(127);
}

[[noreturn]] void become(const Launch& launch) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  // Above 9 first: the descriptors that the parent holds may be the numbers that the child needs.
  const int trouble = fcntl(launch.trouble.write.get(), F_DUPFD_CLOEXEC, 10), go = fcntl(launch.go.read.get(), F_DUPFD_CLOEXEC, 10);
  const int sources[] = {fcntl(launch.input.get(), F_DUPFD_CLOEXEC, 10), fcntl(launch.output.write.get(), F_DUPFD_CLOEXEC, 10),
                         fcntl(launch.error.write.get(), F_DUPFD_CLOEXEC, 10),
                         launch.result.get() >= 0 ? fcntl(launch.result.get(), F_DUPFD_CLOEXEC, 10) : -1};
  for (int target = 0; target < 4; ++target) {
    if (sources[target] >= 0) dup2(sources[target], target);
    else close(target);
  }
  syscall(SYS_close_range, 4U, ~0U, 4U /* CLOSE_RANGE_CLOEXEC */);
  if (!launch.folder.empty() && chdir(launch.folder.c_str()) != 0) give_up(trouble, 0);
  if (launch.pinned && sched_setaffinity(0, sizeof launch.cpus, &launch.cpus) != 0) give_up(trouble, 1);
  if (launch.priority != 0 && setpriority(PRIO_PROCESS, 0, launch.priority) != 0) give_up(trouble, 2);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  for (const int number : {SIGINT, SIGTERM, SIGPIPE, SIGQUIT}) signal(number, SIG_DFL);
  char byte = 0;
  while (read(go, &byte, 1) < 0 && errno == EINTR) {}
  execve(launch.program.c_str(), launch.argv.data(), launch.environment.data());
  give_up(trouble, 3);
}

void check_started(const Pipe& trouble_pipe, pid_t pid, const ProcessSpec& spec) {
  Trouble trouble{};
  ssize_t n = 0;
  do n = read(trouble_pipe.read.get(), &trouble, sizeof trouble);
  while (n < 0 && errno == EINTR);
  if (n != static_cast<ssize_t>(sizeof trouble)) return;  // closed by the exec: it runs
  while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {}
  throw std::runtime_error(
      fmt::format("cannot start '{}': {}: {}", spec.argv[0], kSteps[trouble.step], std::strerror(trouble.error)));
}

// A byte and not a closed pipe: a process forked meanwhile by another thread holds the end that would have to be closed.
void let_go(const Pipe& go) {
  while (write(go.write.get(), "", 1) < 0 && errno == EINTR) {}
}

// What it asked for, and what a container or another program made of it.
void note_granted(pid_t pid, ProcessResult& result) {
  cpu_set_t cpus;
  if (sched_getaffinity(pid, sizeof cpus, &cpus) == 0)
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
      if (CPU_ISSET(static_cast<std::size_t>(cpu), &cpus)) result.granted_cpus.push_back(cpu);
  errno = 0;
  const int priority = getpriority(PRIO_PROCESS, static_cast<id_t>(pid));
  if (errno == 0) result.granted_priority = priority;
}

// Keeps the last `limit` bytes.
struct Tail {
  std::string& text;
  bool& truncated;
  std::size_t limit;
  void add(const char* data, std::size_t size) {
    text.append(data, size);
    if (text.size() > 2 * limit) cut();
  }
  void cut() {
    if (text.size() <= limit) return;
    truncated = true;
    text.erase(0, text.size() - limit);
  }
};

// False when nothing more will come.
bool read_some(Descriptor& from, Tail& to) {
  char block[1 << 16];
  const ssize_t n = read(from.get(), block, sizeof block);
  if (n > 0) return to.add(block, static_cast<std::size_t>(n)), true;
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return true;
  from.close();
  return false;
}

// The parent's eyes on a running child.
class Watch {
 public:
  Watch(const ProcessSpec& spec, Launch& launch, pid_t pid, ProcessResult& result)
      : spec_(spec), pid_(pid), result_(result), output_(std::move(launch.output.read)), error_(std::move(launch.error.read)),
        output_tail_{result.output, result.truncated_output, spec.max_output_bytes},
        error_tail_{result.error, result.truncated_error, spec.max_output_bytes},
        exit_(static_cast<int>(syscall(SYS_pidfd_open, pid, 0))) {
    if (exit_.get() < 0) fail("pidfd_open");
    for (const Descriptor* pipe : {&output_, &error_}) fcntl(pipe->get(), F_SETFL, O_NONBLOCK);
  }

  void until_exit() {
    double wait_s = kFirstLook_s;
    while (!look(wait_s)) {
      if (const auto bytes = resident_private_bytes(pid_)) result_.peak_bytes = std::max(result_.peak_bytes.value_or(0), *bytes);
      wait_s = std::min(2 * wait_s, kLongestWait_s);
      end_when_due();
    }
    result_.wall_s = monotonic_s() - result_.spawned_s;
  }

  // A descendant may keep a pipe open for ever, so this ends by the clock.
  void drain() {
    const double end_s = monotonic_s() + kDrain_s;
    while ((output_.get() >= 0 || error_.get() >= 0) && monotonic_s() < end_s) look(0.01);
    output_tail_.cut(), error_tail_.cut();
  }

 private:
  // Waits for at most wait_s; true once the child has ended.
  bool look(double wait_s) {
    pollfd watched[] = {{exit_.get(), POLLIN, 0}, {output_.get(), POLLIN, 0}, {error_.get(), POLLIN, 0}};
    if (result_.wall_s > 0) watched[0].fd = -1;
    if (poll(watched, 3, static_cast<int>(wait_s * 1000)) <= 0) return false;
    const bool ended = (watched[0].revents & POLLIN) != 0;
    if (watched[1].revents != 0) read_some(output_, output_tail_);
    if (watched[2].revents != 0) read_some(error_, error_tail_);
    return ended;
  }

  void end_when_due() {
    const double now_s = monotonic_s();
    if (!result_.timed_out && !result_.interrupted) {
      result_.timed_out = spec_.timeout_s > 0 && now_s - result_.spawned_s > spec_.timeout_s;
      result_.interrupted = interrupted();
      if (!result_.timed_out && !result_.interrupted) return;
      killpg(pid_, SIGTERM);
      ended_s_ = now_s;
    } else if (now_s - ended_s_ > kTermGrace_s) {
      killpg(pid_, SIGKILL);
    }
  }

  const ProcessSpec& spec_;
  pid_t pid_;
  ProcessResult& result_;
  Descriptor output_, error_;
  Tail output_tail_, error_tail_;
  Descriptor exit_;
  double ended_s_ = 0;
};

void collect(pid_t pid, ProcessResult& result) {
  int status = 0;
  rusage usage{};
  while (wait4(pid, &status, 0, &usage) < 0 && errno == EINTR) {}
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  result.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  const auto seconds = [](const timeval& t) { return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec); };
  result.user_s = seconds(usage.ru_utime), result.system_s = seconds(usage.ru_stime);
  result.minor_faults = usage.ru_minflt, result.major_faults = usage.ru_majflt;
  result.voluntary_switches = usage.ru_nvcsw, result.involuntary_switches = usage.ru_nivcsw;
}

// Orphans of the child become ours while we are the subreaper; each is killed and reaped with what it leaves behind.
void end_orphans(const std::vector<pid_t>& ours_before) {
  for (int round = 0; round < 100; ++round) {
    std::vector<pid_t> strangers = children_of(getpid());
    std::erase_if(strangers, [&](pid_t pid) { return std::count(ours_before.begin(), ours_before.end(), pid) > 0; });
    if (strangers.empty()) return;
    for (const pid_t pid : strangers) kill(pid, SIGKILL);
    for (const pid_t pid : strangers)
      while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {}
  }
}

Launch prepare_launch(const ProcessSpec& spec) {
  Launch launch{find_program(spec.argv.at(0), spec.environment), spec.folder.string(), pointers(spec.argv),
                pointers(spec.environment), memory_file("input", spec.input), Descriptor(), {}, {}, {}, {}, {}, !spec.cpus.empty(),
                spec.priority};
  if (spec.wants_result) launch.result = memory_file("result", "");
  CPU_ZERO(&launch.cpus);
  for (const int cpu : spec.cpus) CPU_SET(static_cast<std::size_t>(cpu), &launch.cpus);
  return launch;
}

}  // namespace

ProcessResult run_process(const ProcessSpec& spec) {
  if (spec.argv.empty()) throw std::invalid_argument("a process needs a command");
  Launch launch = prepare_launch(spec);
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  const std::vector<pid_t> ours_before = children_of(getpid());
  ProcessResult result;
  const pid_t pid = fork();
  if (pid < 0) fail("fork");
  if (pid == 0) become(launch);
  setpgid(pid, pid);  // in both, because either may come first
  std::optional<PerfCounters> counters;
  if (spec.counted) counters.emplace(pid);
  result.spawned_s = monotonic_s();
  let_go(launch.go);
  launch.output.write.close(), launch.error.write.close(), launch.trouble.write.close(), launch.input.close();
  check_started(launch.trouble, pid, spec);
  note_granted(pid, result);
  Watch watch(spec, launch, pid, result);
  watch.until_exit();
  killpg(pid, SIGKILL);  // before the leader is reaped, so that the number cannot be somebody else's
  collect(pid, result);
  end_orphans(ours_before);
  if (counters) result.counters = counters->read();
  watch.drain();
  if (spec.wants_result) result.result = whole_file(launch.result);
  return result;
}

std::string bad_end(const ProcessResult& process, double timeout_s) {
  if (process.interrupted) return "interrupted";
  if (process.timed_out) return fmt::format("no end within the limit of {} s", timeout_s);
  if (process.signal != 0) return fmt::format("ended by signal {} ({})", process.signal, strsignal(process.signal));
  if (process.exit_code != 0) return fmt::format("ended with exit code {}", process.exit_code);
  return "";
}

std::vector<int> parse_cpu_list(const std::string& list) {
  const auto bad = [&] {
    return std::invalid_argument(fmt::format("'{}' is no list of cores; write it like 0-3,6", list));
  };
  std::vector<int> cpus;
  for (std::size_t start = 0; start < list.size();) {
    const std::size_t end = std::min(list.find(',', start), list.size());
    int low = -1, high = -1;
    const char* last = list.data() + end;
    auto parsed = std::from_chars(list.data() + start, last, low);
    high = low;
    if (parsed.ec == std::errc() && parsed.ptr != last && *parsed.ptr == '-') parsed = std::from_chars(parsed.ptr + 1, last, high);
    if (parsed.ec != std::errc() || parsed.ptr != last || low < 0 || high < low || high >= CPU_SETSIZE) throw bad();
    for (int cpu = low; cpu <= high; ++cpu) cpus.push_back(cpu);
    if (end + 1 == list.size()) throw bad();
    start = end + 1;
  }
  return cpus;
}

}  // namespace crossover
