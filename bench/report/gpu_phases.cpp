#include <fmt/format.h>

#include <algorithm>

#include "bench/report/html_parts.h"
#include "bench/report/words.h"

namespace crossover::report {

namespace {

using std::string;

constexpr std::size_t kMostRows = 40;

bool counted(const TraceView::Phase& phase) { return phase.bytes_per_s.has_value(); }

string part(const std::optional<double>& percent) { return percent ? fmt::format("{:.1f} %", *percent) : number(percent); }

string row(const TraceView::Phase& phase, bool several, bool bytes) {
  string text = "<tr>" + cell(phase.name);
  if (several) text += number_cell(phase.device, number(phase.device));
  text += number_cell(phase.launches, number(phase.launches)) + number_cell(phase.busy_s, seconds(phase.busy_s));
  if (bytes)
    text += number_cell(phase.read_bytes, quantity("read_bytes", phase.read_bytes)) +
            number_cell(phase.written_bytes, quantity("written_bytes", phase.written_bytes)) +
            number_cell(phase.bytes_per_s, quantity("bytes_per_s", phase.bytes_per_s)) +
            number_cell(phase.of_peak_percent, part(phase.of_peak_percent)) +
            number_cell(phase.divided_percent, part(phase.divided_percent));
  return text + "</tr>\n";
}

string phases_table(const TraceView& trace, bool bytes) {
  std::vector<const TraceView::Phase*> longest;
  for (const TraceView::Phase& phase : trace.phases) longest.push_back(&phase);
  std::stable_sort(longest.begin(), longest.end(), [](const auto* a, const auto* b) { return a->busy_s.value_or(0) > b->busy_s.value_or(0); });
  const bool several = std::any_of(longest.begin(), longest.end(), [&](const auto* phase) { return phase->device != longest.front()->device; });
  std::vector<string> head{"phase"};
  if (several) head.push_back("GPU");
  head.insert(head.end(), {"kernels", "time on the GPU"});
  if (bytes) head.insert(head.end(), {"read", "written", "memory bandwidth", "of peak", "divided by time"});
  string rows;
  for (std::size_t i = 0; i < std::min(longest.size(), kMostRows); ++i) rows += row(*longest[i], several, bytes);
  const string left_out = longest.size() > kMostRows ? fmt::format("{} shorter ones are in the result file.", longest.size() - kMostRows) : "";
  return table(head, rows, 1) + paragraph(left_out, "note");
}

}  // namespace

string gpu_phases(const ResultView& result) {
  string text;
  bool any_bytes = false;
  for (const TraceView& trace : result.traces) {
    if (trace.phases.empty() && trace.why_no_counters.empty()) continue;
    const bool bytes = std::any_of(trace.phases.begin(), trace.phases.end(), counted);
    any_bytes = any_bytes || bytes;
    const auto index = static_cast<std::size_t>(trace.cell);
    const string of_cell = result.cells.size() > 1 && trace.cell >= 0 && index < result.cells.size() ? ", " + result.cells[index].name : "";
    text += "<h3>" + escape_html(trace.arm + of_cell) + "</h3>\n" + phases_table(trace, bytes);
    if (!trace.why_no_counters.empty()) text += paragraph("No counters of its memory: " + trace.why_no_counters, "note");
    for (const string& flag : trace.flags) text += paragraph(flag, "note");
  }
  if (text.empty()) return "";
  text = "<h2>What the GPU did</h2>\n" +
         paragraph("In one more sample of each arm, which was traced: that slows it, so it is in no number above.", "note") + text;
  if (any_bytes)
    text += paragraph(
        "Bytes are between the GPU's memory and its chip (dram__bytes_read, dram__bytes_write), sampled at a fixed interval. What is found in "
        "its L2 cache is not among them, and what is written may leave that cache in a later phase. A sample that several phases ran in is "
        "divided by their time: the last column says of how much of a phase's bytes that is true.",
        "note");
  return text;
}

}  // namespace crossover::report
