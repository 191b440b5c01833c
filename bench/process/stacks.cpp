#include "bench/process/stacks.h"

#include <cxxabi.h>
#include <fmt/format.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <sstream>
#include <utility>
#include <vector>

#include "bench/process/process.h"
#include "bench/process/process_tree.h"
#include "bench/process/stack_signal.h"
#include "bench/whole_file.h"

namespace crossover {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxProcesses = 8, kMaxThreads = 64;
constexpr std::size_t kMaxDebugged = 3;      // each takes seconds
constexpr double kDebuggerLimit_s = 10;
constexpr std::size_t kMaxStacksBytes = 32 << 10;
constexpr const char* kPath = "/usr/local/bin:/usr/bin:/bin";

std::string text_of(const fs::path& file) {
  std::string text = read_if_there(file);
  while (!text.empty() && (text.back() == '\n' || text.back() == '\0')) text.pop_back();
  return text;
}

// Calls that something waits in; others are shown by number.
std::string call_name(long number) {
  constexpr std::pair<long, const char*> kNames[] = {
      {SYS_read, "read"},       {SYS_write, "write"},       {SYS_pread64, "pread64"},     {SYS_pwrite64, "pwrite64"},
      {SYS_futex, "futex"},     {SYS_ppoll, "ppoll"},       {SYS_pselect6, "pselect6"},   {SYS_epoll_pwait, "epoll_pwait"},
      {SYS_wait4, "wait4"},     {SYS_waitid, "waitid"},     {SYS_nanosleep, "nanosleep"}, {SYS_clock_nanosleep, "clock_nanosleep"},
      {SYS_recvfrom, "recvfrom"}, {SYS_recvmsg, "recvmsg"}, {SYS_accept4, "accept4"},     {SYS_connect, "connect"},
      {SYS_fsync, "fsync"},     {SYS_ioctl, "ioctl"},       {SYS_io_uring_enter, "io_uring_enter"}, {SYS_flock, "flock"},
      {SYS_rt_sigsuspend, "rt_sigsuspend"}, {SYS_rt_sigtimedwait, "rt_sigtimedwait"}};
  for (const auto& [known, name] : kNames)
    if (known == number) return name;
  return fmt::format("call {}", number);
}

// "/lib/libc.so.6+0xd1234" for an address of the process.
std::string place_of(pid_t pid, std::uint64_t address) {
  std::ifstream maps(fmt::format("/proc/{}/maps", pid));
  for (std::string line; std::getline(maps, line);) {
    std::uint64_t start = 0, end = 0, offset = 0;
    std::string range, rights, file;
    std::istringstream fields(line);
    std::string device, inode;
    fields >> range >> rights >> std::hex >> offset >> device >> inode >> file;
    const std::size_t dash = range.find('-');
    if (dash == std::string::npos) continue;
    std::from_chars(range.data(), range.data() + dash, start, 16);
    std::from_chars(range.data() + dash + 1, range.data() + range.size(), end, 16);
    if (address >= start && address < end) return file.empty() ? fmt::format("{:#x}", address) : fmt::format("{}+{:#x}", file, address - start + offset);
  }
  return fmt::format("{:#x}", address);
}

// "in futex" and where, from /proc/PID/task/TID/syscall: number, arguments, stack pointer, instruction; or "running".
std::string call_of(pid_t pid, const fs::path& thread) {
  std::istringstream fields(text_of(thread / "syscall"));
  std::vector<std::string> words{std::istream_iterator<std::string>(fields), {}};
  if (words.size() < 3) return "";
  long number = -1;
  std::from_chars(words[0].data(), words[0].data() + words[0].size(), number);
  std::uint64_t address = 0;
  const std::string& last = words.back();
  if (last.starts_with("0x")) std::from_chars(last.data() + 2, last.data() + last.size(), address, 16);
  return fmt::format("{}{}", number >= 0 ? "  in " + call_name(number) : "", address != 0 ? "  at " + place_of(pid, address) : "");
}

std::string thread_line(pid_t pid, const fs::path& thread) {
  const std::string stat = text_of(thread / "stat"), kernel = text_of(thread / "wchan");
  const std::size_t behind_name = stat.rfind(')');
  const char state = behind_name != std::string::npos && behind_name + 2 < stat.size() ? stat[behind_name + 2] : '?';
  return fmt::format("  thread {} {}  state {}{}{}\n", thread.filename().string(), text_of(thread / "comm"), state, call_of(pid, thread),
                     kernel.empty() || kernel == "0" ? "" : "  kernel " + kernel);
}

std::vector<pid_t> tree_of(pid_t pid) {
  std::vector<pid_t> tree{pid};
  for (std::size_t i = 0; i < tree.size() && tree.size() < kMaxProcesses; ++i)
    for (const pid_t child : children_of(tree[i])) tree.push_back(child);
  tree.resize(std::min(tree.size(), kMaxProcesses));
  return tree;
}

std::string command_line(pid_t pid) {
  std::string words = text_of(fmt::format("/proc/{}/cmdline", pid));
  std::replace(words.begin(), words.end(), '\0', ' ');
  return words.substr(0, 200);
}

bool is_installed(const std::string& name) {
  for (const char* folder : {"/usr/local/bin/", "/usr/bin/", "/bin/"})
    if (access((folder + name).c_str(), X_OK) == 0) return true;
  return false;
}

// Frames and the lines that name a thread; what else gdb says is about itself.
std::string frames_of(const std::string& text) {
  std::string frames;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);)
    if (line.starts_with("#") || line.starts_with("Thread ") || line.starts_with("TID ")) frames += "  " + line + "\n";
  return frames;
}

std::string debug_one(pid_t pid, const std::string& debugger) {
  ProcessSpec spec;
  const std::string number = std::to_string(pid);
  if (debugger == "gdb")
    spec.argv = {"gdb", "-nx", "-batch", "-iex", "set debuginfod enabled off", "-p", number, "-ex", "thread apply all backtrace 40"};
  else
    spec.argv = {debugger, "-p", number};
  spec.environment = {fmt::format("PATH={}", kPath)};
  spec.timeout_s = kDebuggerLimit_s;
  return frames_of(run_process(spec).output);
}

// "FILE(_ZN1a1bEv+0x12) [0x55...]" as glibc prints a frame -> "a::b()+0x12  FILE".
std::string readable_frame(const std::string& line) {
  const std::size_t open = line.find('('), close = line.find(')', open), plus = line.rfind('+', close);
  if (open == std::string::npos || close == std::string::npos || plus == std::string::npos || plus < open) return line;
  const std::string symbol = line.substr(open + 1, plus - open - 1), offset = line.substr(plus, close - plus);
  const std::string file = line.substr(0, open);
  if (symbol.empty()) return fmt::format("{}{}", file, offset);
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> name(abi::__cxa_demangle(symbol.c_str(), nullptr, nullptr, &status), std::free);
  return fmt::format("{}{}  {}", status == 0 ? name.get() : symbol, offset, file);
}

}  // namespace

std::string thread_table(pid_t pid) {
  std::string table;
  for (const pid_t member : tree_of(pid)) {
    table += fmt::format("process {}: {}\n", member, command_line(member));
    std::vector<fs::path> threads;
    std::error_code gone;
    fs::directory_iterator task(fmt::format("/proc/{}/task", member), gone);
    for (; !gone && task != fs::directory_iterator(); task.increment(gone)) threads.push_back(task->path());
    for (std::size_t i = 0; i < std::min(threads.size(), kMaxThreads); ++i) table += thread_line(member, threads[i]);
    if (threads.size() > kMaxThreads) table += fmt::format("  and {} more threads\n", threads.size() - kMaxThreads);
  }
  return table;
}

std::string debugger_stacks(pid_t pid) {
  const std::string debugger = is_installed("eu-stack") ? "eu-stack" : is_installed("gdb") ? "gdb" : "";
  if (debugger.empty()) return "";
  std::vector<pid_t> tree = tree_of(pid);
  std::reverse(tree.begin(), tree.end());  // the last one started is what the others wait for
  std::string stacks;
  for (std::size_t i = 0; i < std::min(tree.size(), kMaxDebugged); ++i)
    if (const std::string frames = debug_one(tree[i], debugger); !frames.empty())
      stacks += fmt::format("stacks of process {} ({})\n{}", tree[i], debugger, frames);
  return stacks.substr(0, kMaxStacksBytes);
}

std::string take_printed_stacks(std::string& text) {
  const std::size_t begin = text.find(kStacksBegin);
  if (begin == std::string::npos) return "";
  const std::size_t end = text.find(kStacksEnd, begin);
  const std::string printed = text.substr(begin, end == std::string::npos ? end : end - begin);
  text.erase(begin, end == std::string::npos ? end : end + std::string_view(kStacksEnd).size() - begin);
  std::string stacks;
  std::istringstream in(printed.substr(std::min(printed.size(), std::string_view("=== ").size())));
  for (std::string line; std::getline(in, line);)
    stacks += line.starts_with("thread ") || line.starts_with("stacks ") ? line + "\n" : "  " + readable_frame(line) + "\n";
  return stacks.substr(0, kMaxStacksBytes);
}

}  // namespace crossover
