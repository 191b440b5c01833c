// What ran, counted by the code that ran it: the proof behind "the knob took effect" and "the wanted path ran".
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace crossover {

// One per rank; ranks are merged when a result is written.
struct Counters {
  std::map<std::string, std::int64_t, std::less<>> counts;  // "launches.matmul", "bytes.matmul", "flops.matmul"
  std::map<std::string, std::string, std::less<>> paths;    // "gdn" -> "chunked", "matmul.q6_k" -> "avx512+avx512vnni"

  void add(std::string_view name, std::int64_t n) {
    if (auto it = counts.find(name); it != counts.end()) it->second += n;
    else counts.emplace(name, n);
  }

  // A part that took several paths lists them in the order first taken, joined by '+'.
  void path(std::string_view part, std::string_view taken) {
    auto it = paths.find(part);
    if (it == paths.end()) { paths.emplace(part, taken); return; }
    std::string& list = it->second;  // searched in place: this is called for every product
    for (std::size_t at = list.find(taken); at != std::string::npos; at = list.find(taken, at + 1)) {
      const std::size_t end = at + taken.size();
      if ((at == 0 || list[at - 1] == '+') && (end == list.size() || list[end] == '+')) return;
    }
    list.append("+").append(taken);
  }

  void merge(const Counters& other) {
    for (const auto& [name, n] : other.counts) add(name, n);
    for (const auto& [part, taken] : other.paths) path(part, taken);
  }
};

}  // namespace crossover
