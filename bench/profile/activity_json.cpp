#include "bench/profile/activity_json.h"

#include <cxxabi.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <tuple>

namespace crossover::cupti {
namespace {

using nlohmann::json;

constexpr std::size_t kMostKernels = 200, kMostSpans = 20'000;
constexpr const char* kNoPhase = "none";

struct Times {
  std::int64_t count = 0;
  double total_s = 0, shortest_s = 0, longest_s = 0;

  void add(std::uint64_t start_ns, std::uint64_t end_ns) {
    const double length_s = static_cast<double>(end_ns - start_ns) * 1e-9;
    shortest_s = count == 0 ? length_s : std::min(shortest_s, length_s);
    longest_s = std::max(longest_s, length_s);
    total_s += length_s, ++count;
  }
};

std::string phase_name(const Activity& activity, std::uint32_t correlation) {
  const std::string* const phase = activity.phase_of(correlation);
  return phase ? *phase : kNoPhase;
}

void erase_all(std::string& text, const std::string& part) {
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at)) text.erase(at, part.size());
}

void put_kernels(const Activity& activity, json& out) {
  using Shape = std::tuple<std::string, std::string, std::array<std::int32_t, 3>, std::array<std::int32_t, 3>, int, int, int>;
  std::map<Shape, Times> kernels;
  std::map<std::string, Times> phases;
  for (const Kernel& kernel : activity.kernels) {
    const std::string phase = phase_name(activity, kernel.correlation);
    kernels[{short_name(kernel.name), phase, kernel.grid, kernel.block, kernel.registers, kernel.static_shared_bytes + kernel.dynamic_shared_bytes,
             kernel.local_bytes_per_thread}].add(kernel.start_ns, kernel.end_ns);
    phases[phase].add(kernel.start_ns, kernel.end_ns);
  }
  std::vector<std::pair<Shape, Times>> longest(kernels.begin(), kernels.end());
  std::stable_sort(longest.begin(), longest.end(), [](const auto& a, const auto& b) { return a.second.total_s > b.second.total_s; });
  out["kernels"] = json::array(), out["phases"] = json::array();
  for (std::size_t i = 0; i < std::min(longest.size(), kMostKernels); ++i) {
    const auto& [name, phase, grid, block, registers, shared_bytes, local_bytes] = longest[i].first;
    const Times& times = longest[i].second;
    out["kernels"].push_back({{"name", name}, {"phase", phase}, {"launches", times.count}, {"total_s", times.total_s}, {"shortest_s", times.shortest_s},
                              {"longest_s", times.longest_s}, {"grid", grid}, {"block", block}, {"registers", registers}, {"shared_bytes", shared_bytes},
                              {"local_bytes_per_thread", local_bytes}});
  }
  if (longest.size() > kMostKernels) out["kernels_left_out"] = longest.size() - kMostKernels;
  for (const auto& [phase, times] : phases) out["phases"].push_back({{"name", phase}, {"launches", times.count}, {"kernel_s", times.total_s}});
}

const char* name(Copy::Kind kind) {
  switch (kind) {
    case Copy::Kind::kToDevice: return "to the device";
    case Copy::Kind::kToHost: return "to the host";
    case Copy::Kind::kWithin: return "within the device";
    case Copy::Kind::kClear: return "clear";
    case Copy::Kind::kOther: break;
  }
  return "other";
}

void put_copies(const Activity& activity, json& out) {
  std::map<Copy::Kind, std::pair<Times, std::uint64_t>> copies;
  for (const Copy& copy : activity.copies) {
    copies[copy.kind].first.add(copy.start_ns, copy.end_ns);
    copies[copy.kind].second += copy.bytes;
  }
  out["copies"] = json::array();
  for (const auto& [kind, sum] : copies) {
    const auto& [times, bytes] = sum;
    json entry{{"kind", name(kind)}, {"count", times.count}, {"bytes", bytes}, {"total_s", times.total_s}};
    if (times.total_s > 0) entry["bytes_per_s"] = static_cast<double>(bytes) / times.total_s;
    out["copies"].push_back(std::move(entry));
  }
}

std::string overhead_name(std::int32_t kind) {
  switch (kind) {  // CUpti_ActivityOverheadKind
    case 1: return "driver's compiler";
    case 1 << 16: return "flush of buffers";
    case 2 << 16: return "instrumentation";
    case 3 << 16: return "resources";
    case 4 << 16:
    case 5 << 16: return "loading of kernels";
    case 6 << 16: return "full command buffer";
    case 7 << 16: return "request of buffers";
    default: return fmt::format("kind {}", kind);
  }
}

void put_overheads(const Activity& activity, json& out) {
  std::map<std::string, Times> overheads;
  for (const Overhead& overhead : activity.overheads) overheads[overhead_name(overhead.kind)].add(overhead.start_ns, overhead.end_ns);
  out["overhead"] = json::array();
  for (const auto& [kind, times] : overheads) out["overhead"].push_back({{"kind", kind}, {"count", times.count}, {"total_s", times.total_s}});
}

void put_rows(const Activity& activity, double begin_s, json& out) {
  struct Span {
    std::uint64_t start_ns, end_ns;
    std::string name, phase;
  };
  std::map<std::string, std::vector<Span>> rows;
  for (const Kernel& kernel : activity.kernels)
    if (kernel.start_ns > 0)
      rows[fmt::format("GPU {} kernels, stream {}", kernel.device, kernel.stream)].push_back(
          {kernel.start_ns, kernel.end_ns, short_name(kernel.name), phase_name(activity, kernel.correlation)});
  for (const Copy& copy : activity.copies)
    if (copy.start_ns > 0) rows[fmt::format("GPU {} copies", copy.device)].push_back({copy.start_ns, copy.end_ns, name(copy.kind), phase_name(activity, copy.correlation)});
  out["rows"] = json::array();
  std::size_t kept = 0, left_out = 0;
  for (auto& [row, spans] : rows) {
    std::stable_sort(spans.begin(), spans.end(), [](const Span& a, const Span& b) { return a.start_ns < b.start_ns; });
    json list = json::array();
    for (const Span& span : spans) {
      if (kept == kMostSpans) { ++left_out; continue; }
      list.push_back({span.name, activity.seconds(span.start_ns) - begin_s, activity.seconds(span.end_ns) - begin_s, span.phase});
      ++kept;
    }
    out["rows"].push_back({{"name", row}, {"spans", std::move(list)}});
  }
  if (left_out > 0) out["spans_left_out"] = left_out;
}

}  // namespace

std::string short_name(const std::string& mangled) {
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> text(abi::__cxa_demangle(mangled.c_str(), nullptr, nullptr, &status), &std::free);
  std::string name = status == 0 && text ? text.get() : mangled;
  for (const char* part : {"(anonymous namespace)::", "crossover::cuda::", "crossover::"}) erase_all(name, part);
  if (name.starts_with("void ")) name.erase(0, 5);
  int depth = 0;  // of template arguments, which may hold parentheses
  for (std::size_t i = 0; i < name.size(); ++i) {
    depth += name[i] == '<' ? 1 : name[i] == '>' ? -1 : 0;
    if (name[i] == '(' && depth == 0) return name.substr(0, i);
  }
  return name;
}

json activity_json(const Activity& activity, std::int64_t launches, double begin_s) {
  json out{{"launches", {{"engine", launches}, {"cupti", activity.kernels.size()}}}, {"dropped", activity.dropped}, {"malformed", activity.malformed}};
  put_kernels(activity, out);
  put_copies(activity, out);
  put_overheads(activity, out);
  put_rows(activity, begin_s, out);
  return out;
}

std::string kernel_path(const Activity& activity) {
  std::set<std::string> names;
  for (const Kernel& kernel : activity.kernels) names.insert(short_name(kernel.name));
  return fmt::format("{}", fmt::join(names, "+"));
}

}  // namespace crossover::cupti
