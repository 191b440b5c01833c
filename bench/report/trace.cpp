#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <ostream>
#include <set>
#include <utility>

#include "bench/report/laid_out.h"
#include "bench/report/page.h"

namespace crossover::report {

std::vector<double> laid_out_starts_s(const std::vector<SampleView::Phase>& phases) {
  std::vector<double> starts;
  std::map<std::pair<long, long>, double> free_from;  // by parent and rank
  for (std::size_t i = 0; i < phases.size(); ++i) {
    const SampleView::Phase& phase = phases[i];
    const bool nested = phase.parent >= 0 && static_cast<std::size_t>(phase.parent) < i;
    const double inside_s =
        nested ? starts[static_cast<std::size_t>(phase.parent)] - phases[static_cast<std::size_t>(phase.parent)].start_s : 0;
    double& free_s = free_from.try_emplace({phase.parent, phase.rank}, phase.start_s + inside_s).first->second;
    starts.push_back(std::max(phase.start_s + inside_s, free_s));
    free_s = starts.back() + phase.duration_s;
  }
  return starts;
}

namespace {

using nlohmann::json;

constexpr std::size_t kMostEvents = 400'000;  // a viewer opens that many without trouble
constexpr long kSharesRow = 0;

class Writer {
 public:
  explicit Writer(std::ostream& out) : out_(out) { out_ << "{\"traceEvents\":["; }

  void add(const json& event) { out_ << (count_++ ? ",\n" : "\n") << event.dump(-1, ' ', false, json::error_handler_t::replace); }

  // Whole nanoseconds, so that a child ends where its parent does and not a rounding later.
  void add_slice(const std::string& name, const char* category, long process, long row, long long start_ns, long long end_ns) {
    add({{"ph", "X"},
         {"name", name},
         {"cat", category},
         {"pid", process},
         {"tid", row},
         {"ts", static_cast<double>(start_ns) / 1e3},
         {"dur", static_cast<double>(std::max(end_ns - start_ns, 0LL)) / 1e3}});
  }

  void name(const char* what, const std::string& name, long process, long row) {
    add({{"ph", "M"}, {"name", what}, {"pid", process}, {"tid", row}, {"args", {{"name", name}}}});
  }

  void finish(std::size_t samples_left_out) {
    const json other{{"samples_left_out", samples_left_out}};
    out_ << "\n],\"displayTimeUnit\":\"ms\",\"otherData\":" << other.dump() << "}\n";
  }

  std::size_t count() const { return count_; }

 private:
  std::ostream& out_;
  std::size_t count_ = 0;
};

long long nanoseconds(double seconds) { return std::llround(std::clamp(seconds, 0.0, 1e9) * 1e9); }

struct Slice {
  long long start_ns, end_ns;
};

void add_shares(const SampleView& sample, const std::map<long, long>& process_of, Writer& writer) {
  const std::vector<double> starts_s = laid_out_starts_s(sample.phases);
  std::vector<Slice> slices;
  for (std::size_t i = 0; i < sample.phases.size(); ++i) {
    const SampleView::Phase& phase = sample.phases[i];
    Slice slice{nanoseconds(starts_s[i]), nanoseconds(starts_s[i] + std::max(phase.duration_s, 0.0))};
    const auto parent = static_cast<std::size_t>(std::max(phase.parent, 0L));
    if (phase.parent >= 0 && parent < i && sample.phases[parent].rank == phase.rank)  // shares of a whole do not leave it
      slice = {std::clamp(slice.start_ns, slices[parent].start_ns, slices[parent].end_ns),
               std::clamp(slice.end_ns, slices[parent].start_ns, slices[parent].end_ns)};
    slices.push_back(slice);
    writer.add_slice(phase.name, "share", process_of.at(phase.rank), kSharesRow, slice.start_ns, slice.end_ns);
  }
}

// Threads as they were, each in a row of its own below the shares.
void add_threads(const SampleView& sample, const std::map<long, long>& process_of, Writer& writer) {
  std::map<std::pair<long, long>, long> rows;
  std::map<std::pair<long, long>, long long> free_ns;
  for (const SampleView::Span& span : sample.timeline) {
    const long process = process_of.at(span.rank);
    const auto [row, fresh] = rows.try_emplace({span.rank, span.thread}, static_cast<long>(rows.size()) + 1);
    if (fresh)
      writer.name("thread_name", span.thread < 0 ? fmt::format("reader {}", -1 - span.thread) : fmt::format("worker {}", span.thread),
                  process, row->second);
    long long& free = free_ns[{span.rank, span.thread}];
    const long long start_ns = std::max(nanoseconds(span.start_s), free), end_ns = std::max(nanoseconds(span.end_s), start_ns);
    free = end_ns;
    writer.add_slice(span.phase, "thread", process, row->second, start_ns, end_ns);
  }
}

// "chunk=64 A pair 3"
std::string place(const ResultView& result, const SampleView& sample) {
  const auto cell = static_cast<std::size_t>(std::max(sample.cell, 0L));
  const std::string name = cell < result.cells.size() ? result.cells[cell].name : "";
  return fmt::format("{}{}{} pair {}", name, name.empty() ? "" : " ", sample.arm, sample.pair);
}

// What is known of the whole sample stands at its start.
void add_counters(const SampleView& sample, long process, Writer& writer) {
  const auto add = [&](const std::string& name, double value) {
    writer.add({{"ph", "C"}, {"name", name}, {"pid", process}, {"tid", 0}, {"ts", 0.0}, {"args", {{"value", value}}}});
  };
  if (sample.resident_before_bytes) add("page cache before, bytes", *sample.resident_before_bytes);
  for (const char* name : {"bytes.files", "bytes.read", "bytes.held", "bytes.weights", "launches.quantize"})
    if (const auto found = sample.counters.find(name); found != sample.counters.end()) add(name, found->second);
  if (const auto peak = sample.metrics.find("memory.peak_bytes"); peak != sample.metrics.end()) add("memory.peak_bytes", peak->second);
}

// A process of its own for what a traced sample saw, a row for every stream and every rank.
void add_trace(const std::string& result, const TraceView& trace, long process, Writer& writer) {
  const std::string why = trace.why.empty() ? "" : fmt::format(" ({})", trace.why);
  writer.name("process_name", fmt::format("{} {} traced by {}{}", result, trace.arm, trace.source, why), process, 0);
  writer.add({{"ph", "M"}, {"name", "process_sort_index"}, {"pid", process}, {"tid", 0}, {"args", {{"sort_index", process}}}});
  for (std::size_t r = 0; r < trace.rows.size(); ++r) {
    const long row = static_cast<long>(r) + 1;
    writer.name("thread_name", trace.rows[r].name, process, row);
    long long free_ns = 0;
    for (const TraceView::Span& span : trace.rows[r].spans) {
      const long long start_ns = std::max(nanoseconds(span.start_s), free_ns), end_ns = std::max(nanoseconds(span.end_s), start_ns);
      free_ns = end_ns;
      writer.add_slice(span.name, span.phase.empty() ? "gpu" : span.phase.c_str(), process, row, start_ns, end_ns);
    }
  }
}

std::size_t spans_of(const TraceView& trace) {
  std::size_t spans = 0;
  for (const TraceView::Row& row : trace.rows) spans += row.spans.size() + 1;
  return spans;
}

}  // namespace

void write_trace(const std::vector<Page>& pages, std::ostream& out) {
  Writer writer(out);
  long process = 0;
  std::size_t left_out = 0;
  for (const Page& page : pages) {
    for (const TraceView& trace : page.result.traces) {
      if (trace.rows.empty()) continue;
      if (writer.count() + spans_of(trace) > kMostEvents) ++left_out;
      else add_trace(page.result.name, trace, ++process, writer);
    }
    for (const SampleView& sample : page.result.samples) {
      std::map<long, long> process_of;  // by rank
      for (const SampleView::Phase& phase : sample.phases) process_of.try_emplace(phase.rank, 0);
      for (const SampleView::Span& span : sample.timeline) process_of.try_emplace(span.rank, 0);
      if (process_of.empty()) continue;
      if (writer.count() + sample.phases.size() + sample.timeline.size() > kMostEvents) {
        ++left_out;
        continue;
      }
      for (auto& [rank, id] : process_of) {
        id = ++process;
        writer.name("process_name",
                    fmt::format("{} {}{} rank {}", page.result.name, place(page.result, sample),
                                sample.control ? " (control)" : "", rank),
                    id, 0);
        writer.add({{"ph", "M"}, {"name", "process_sort_index"}, {"pid", id}, {"tid", 0}, {"args", {{"sort_index", id}}}});
        writer.name("thread_name", "shares of the wall time", id, kSharesRow);
      }
      add_counters(sample, process_of.begin()->second, writer);
      add_shares(sample, process_of, writer);
      add_threads(sample, process_of, writer);
    }
  }
  writer.finish(left_out);
}

}  // namespace crossover::report
