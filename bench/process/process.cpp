#include "bench/process/process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "bench/machine/perf_counters.h"
#include "bench/process/interrupt.h"
#include "bench/process/process_tree.h"
#include "bench/process/stack_signal.h"
#include "bench/process/stacks.h"
#include "bench/process/supervisor.h"
#include "kernels/trace.h"

namespace crossover {

namespace {

constexpr double kTermGrace_s = 0.3;    // between SIGTERM and SIGKILL
constexpr double kStacksGrace_s = 2;    // for a program that was asked where it is
constexpr double kGiveUp_s = 20;        // for the kernel to end what got SIGKILL
constexpr double kDrain_s = 0.2;       // for output still in a pipe after the exit
constexpr double kFirstLook_s = 0.002, kLongestWait_s = 0.05;  // between looks at the memory
constexpr std::size_t kMaxResultBytes = std::size_t{256} << 20;

[[noreturn]] void fail(const char* what) {
  throw std::runtime_error(fmt::format("cannot start a process: {}: {}", what, std::strerror(errno)));
}

DescriptorPair make_pipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) fail("pipe");
  return {Descriptor(ends[0]), Descriptor(ends[1])};
}

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

// A supervisor and our end of its line. Both end together.
class Supervised {
 public:
  explicit Supervised(const Launch& launch) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) fail("socketpair");
    line_ = Descriptor(ends[0]);
    Descriptor theirs(ends[1]);
    supervisor_ = fork();
    if (supervisor_ < 0) fail("fork");
    if (supervisor_ == 0) supervise(launch, theirs.get());
  }
  ~Supervised() {
    shutdown(line_.get(), SHUT_WR);  // which ends what still runs
    const double give_up_s = monotonic_s() + kGiveUp_s;
    pollfd closed{line_.get(), 0, 0};
    while (poll(&closed, 1, 100) <= 0 && monotonic_s() < give_up_s) {}
    if (closed.revents == 0) return;
    while (waitpid(supervisor_, nullptr, 0) < 0 && errno == EINTR) {}
  }
  Supervised(const Supervised&) = delete;
  Supervised& operator=(const Supervised&) = delete;

  int line() const { return line_.get(); }
  void order(int signal, bool leader_only) const {
    const auto byte = static_cast<std::uint8_t>(signal | (leader_only ? kLeaderOnly : 0));
    while (send(line_.get(), &byte, 1, MSG_NOSIGNAL) < 0 && errno == EINTR) {}
  }
  // Nothing when the supervisor is gone.
  std::optional<Report> report() const {
    Report report;
    ssize_t n = 0;
    do n = read(line_.get(), &report, sizeof report);
    while (n < 0 && errno == EINTR);
    if (n != static_cast<ssize_t>(sizeof report)) return std::nullopt;
    return report;
  }

 private:
  Descriptor line_;
  pid_t supervisor_ = -1;
};

void check_started(const DescriptorPair& trouble_pipe, const ProcessSpec& spec) {
  Trouble trouble{};
  ssize_t n = 0;
  do n = read(trouble_pipe.read.get(), &trouble, sizeof trouble);
  while (n < 0 && errno == EINTR);
  if (n != static_cast<ssize_t>(sizeof trouble)) return;  // closed by the exec: it runs
  throw std::runtime_error(
      fmt::format("cannot start '{}': {}: {}", spec.argv[0], trouble_text(trouble.step), std::strerror(trouble.error)));
}

// A byte and not a closed pipe: a process forked meanwhile by another thread holds the end that would have to be closed.
void let_go(const DescriptorPair& go) {
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
  Watch(const ProcessSpec& spec, Launch& launch, const Supervised& supervised, pid_t pid, ProcessResult& result)
      : spec_(spec), supervised_(supervised), pid_(pid), result_(result), output_(std::move(launch.output.read)),
        error_(std::move(launch.error.read)), output_tail_{result.output, result.truncated_output, spec.max_output_bytes},
        error_tail_{result.error, result.truncated_error, spec.max_output_bytes} {
    for (const Descriptor* pipe : {&output_, &error_}) fcntl(pipe->get(), F_SETFL, O_NONBLOCK);
  }

  void until_exit() {
    double wait_s = kFirstLook_s;
    while (!look(wait_s)) {
      if (const auto bytes = resident_private_bytes(pid_)) result_.peak_bytes = std::max(result_.peak_bytes.value_or(0), *bytes);
      wait_s = std::min(2 * wait_s, kLongestWait_s);
      end_when_due();
    }
    ended_ = true;
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
    pollfd watched[] = {{ended_ ? -1 : supervised_.line(), POLLIN, 0}, {output_.get(), POLLIN, 0}, {error_.get(), POLLIN, 0}};
    if (poll(watched, 3, static_cast<int>(wait_s * 1000)) <= 0) return false;
    const bool ended = watched[0].revents != 0;
    if (watched[1].revents != 0) read_some(output_, output_tail_);
    if (watched[2].revents != 0) read_some(error_, error_tail_);
    return ended;
  }

  void end_when_due() {
    const double now_s = monotonic_s();
    switch (stage_) {
      case Stage::kRunning:
        result_.timed_out = spec_.timeout_s > 0 && now_s - result_.spawned_s > spec_.timeout_s;
        result_.interrupted = !result_.timed_out && interrupted();
        if (result_.timed_out) ask_for_stacks();
        else if (result_.interrupted) terminate();
        break;
      case Stage::kAsked:
        if (result_.error.find(kStacksEnd) == std::string::npos) {
          if (now_s - stage_s_ < kStacksGrace_s) break;
          result_.stacks += debugger_stacks(pid_);
        }
        terminate();
        break;
      case Stage::kTerminating:
        if (now_s - stage_s_ < kTermGrace_s) break;
        supervised_.order(SIGKILL, /*leader_only=*/false);
        enter(Stage::kKilling);
        break;
      case Stage::kKilling:
        if (now_s - stage_s_ > kGiveUp_s)
          throw std::runtime_error(fmt::format("process {} ({}) does not end {} s after SIGKILL: the kernel holds it, look at /proc/{}/stack", pid_,
                                               spec_.argv[0], kGiveUp_s, pid_));
        break;
    }
  }

  void ask_for_stacks() {
    result_.stacks = thread_table(pid_);
    if (spec_.stack_signal != 0) {
      supervised_.order(spec_.stack_signal, /*leader_only=*/true);
      return enter(Stage::kAsked);
    }
    result_.stacks += debugger_stacks(pid_);
    terminate();
  }

  void terminate() {
    supervised_.order(SIGTERM, /*leader_only=*/false);
    enter(Stage::kTerminating);
  }

  enum class Stage : std::uint8_t { kRunning, kAsked, kTerminating, kKilling };
  void enter(Stage stage) { stage_ = stage, stage_s_ = monotonic_s(); }

  const ProcessSpec& spec_;
  const Supervised& supervised_;
  pid_t pid_;
  ProcessResult& result_;
  Descriptor output_, error_;
  Tail output_tail_, error_tail_;
  Stage stage_ = Stage::kRunning;
  double stage_s_ = 0;
  bool ended_ = false;
};

// Without a report the supervisor was killed, and the program with it.
void take_end(const std::optional<Report>& end, ProcessResult& result) {
  result.wall_s = (end ? end->ended_s : monotonic_s()) - result.spawned_s;
  const int status = end ? end->status : SIGKILL;
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  result.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  if (!end) return;
  const auto seconds = [](const timeval& t) { return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec); };
  result.user_s = seconds(end->usage.ru_utime), result.system_s = seconds(end->usage.ru_stime);
  result.minor_faults = end->usage.ru_minflt, result.major_faults = end->usage.ru_majflt;
  result.voluntary_switches = end->usage.ru_nvcsw, result.involuntary_switches = end->usage.ru_nivcsw;
}

Launch prepare_launch(const ProcessSpec& spec) {
  Launch launch{find_program(spec.argv.at(0), spec.environment), spec.folder.string(), pointers(spec.argv),
                pointers(spec.environment), memory_file("input", spec.input), Descriptor(), make_pipe(), make_pipe(), make_pipe(), make_pipe(), {},
                !spec.cpus.empty(), spec.priority};
  if (spec.wants_result) launch.result = memory_file("result", "");
  CPU_ZERO(&launch.cpus);
  for (const int cpu : spec.cpus) CPU_SET(static_cast<std::size_t>(cpu), &launch.cpus);
  return launch;
}

}  // namespace

ProcessResult run_process(const ProcessSpec& spec) {
  if (spec.argv.empty()) throw std::invalid_argument("a process needs a command");
  Launch launch = prepare_launch(spec);
  ProcessResult result;
  std::optional<Watch> watch;
  {
    const Supervised supervised(launch);
    const std::optional<Report> start = supervised.report();
    if (!start) throw std::runtime_error(fmt::format("cannot start '{}': its supervisor was killed", spec.argv[0]));
    if (start->pid < 0) errno = -start->pid, fail("fork");
    std::optional<PerfCounters> counters;
    if (spec.counted) counters.emplace(start->pid);
    result.spawned_s = monotonic_s();
    let_go(launch.go);
    launch.output.write.close(), launch.error.write.close(), launch.trouble.write.close(), launch.input.close();
    check_started(launch.trouble, spec);
    note_granted(start->pid, result);
    supervised.order(kLookedAt, /*leader_only=*/false);
    watch.emplace(spec, launch, supervised, start->pid, result);
    watch->until_exit();
    take_end(supervised.report(), result);
    if (counters) result.counters = counters->read();
  }
  watch->drain();
  if (spec.wants_result) result.result = whole_file(launch.result);
  return result;
}

std::string signal_text(int signal) {
  const char* name = sigabbrev_np(signal);
  return name ? fmt::format("signal {} (SIG{}, {})", signal, name, strsignal(signal)) : fmt::format("signal {}", signal);
}

std::string bad_end(const ProcessResult& process, double timeout_s) {
  if (process.interrupted) return "interrupted";
  if (process.timed_out) return fmt::format("timeout: no end within the limit of {} s", timeout_s);
  if (process.signal != 0) return "ended by " + signal_text(process.signal);
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
