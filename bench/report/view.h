// A result file as the report shows it: plain data, every value already checked.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace crossover::report {

struct Interval {
  double low, high;
};

struct MetricRow {
  std::string name;
  std::optional<double> a, b;  // medians over the samples that worked, in the metric's unit
  std::optional<double> effect_percent, order_effect_percent, hodges_lehmann_percent, mde_percent, p_adjusted;
  std::optional<Interval> interval_percent, order_interval_percent, hodges_lehmann_interval_percent, equivalence_interval_percent;
  std::optional<double> n_pairs;
  std::string verdict;
};

struct PhaseRow {
  std::string name;
  std::optional<double> a_s, b_s, delta_s;  // means over the samples that worked
  std::optional<Interval> interval_s;
};

struct Fact {
  std::string name, value;
};

struct GateRow {
  std::string name, saw;
  std::string state;  // "pass", "fail", "open" (could not be judged), "not asked", "not recorded", "noted" (no check, but worth knowing)
};

// One arm's load beside what bounds it; `whole_*` is derived from the run for the model with nothing cut.
struct FloorView {
  std::optional<double> total_s, bytes_read, read_bytes_per_s, read_floor_s, quantized_values, quantize_values_per_s, quantize_floor_s;
  std::optional<double> ratio, pack_s, first_touch_s, rest_ratio, busy_share, peak_memory_bytes, held_bytes;
  std::string whole;  // "qwen3.6-27b, 64 layers, vocabulary 248320"; empty without one
  std::optional<double> whole_total_s, whole_read_floor_s, whole_quantize_floor_s;
};

// Two adjacent samples that both count and have the primary metric.
struct PairView {
  long pair = 0;
  bool a_first = true;
  std::size_t a = 0, b = 0;                  // indices into the samples
  std::optional<double> difference_percent;  // B against A in time-like direction; absent where either is not above 0
};

struct CellView {
  std::string name;            // empty where the run has one cell
  std::vector<Fact> settings;  // "chunk" = "64"; empty where the run has one cell
  std::string word, reason;
  std::vector<MetricRow> metrics;  // the primary first
  std::vector<PhaseRow> phases;
  std::optional<double> residual_s;
  std::optional<FloorView> floors_a, floors_b;
  std::vector<GateRow> gates;
  std::vector<PairView> pairs;  // in the order they ran

  const MetricRow* primary() const { return metrics.empty() ? nullptr : &metrics.front(); }
};

struct SampleView {
  std::string arm;
  long pair = 0, position = 0, cell = 0;
  std::string failure;   // why there is no measurement; empty for a good sample
  bool control = false;  // the determinism control, not analysed
  std::string started_at;
  std::map<std::string, double> metrics;
  std::map<std::string, std::vector<double>> series;
  std::map<std::string, double> counters;
  std::optional<double> resident_before_bytes;
  std::vector<std::string> flags;
  struct Phase {
    std::string name;
    long rank;
    double start_s, duration_s;
    long parent;  // index into the same list, -1 at the top
  };
  std::vector<Phase> phases;
  struct Span {
    long rank, thread;
    std::string phase;
    double start_s, end_s;
  };
  std::vector<Span> timeline;  // of the load, where it was kept

  bool counts() const { return failure.empty() && !control; }
};

// What the GPU did in one traced sample, which is in no average.
struct TraceView {
  std::string arm;
  long cell = 0;
  std::string source, why;  // "cupti", or "events" and why CUPTI did not watch
  struct Span {
    std::string name, phase;
    double start_s, end_s;
  };
  struct Row {
    std::string name;
    std::vector<Span> spans;
  };
  std::vector<Row> rows;
  struct Phase {
    std::string name;
    std::optional<double> device, launches, busy_s;  // no device: of all of them
    std::optional<double> read_bytes, written_bytes, bytes_per_s, of_peak_percent, divided_percent;
  };
  std::vector<Phase> phases;
  std::string why_no_counters;  // in one line, of a device at least
  std::vector<std::string> flags;
};

struct KnobRow {
  std::string name, a, a_origin, b, b_origin;
};

// What a sweep goes over, in the order of its cells.
struct Axis {
  std::string name;
  std::vector<std::string> values;
  std::string arms;  // "AB", "A" or "B": whose setting it is
};

// Where the curves of the arms cross over a swept number, and where the interval says it may be.
struct CrossingView {
  double at;
  std::optional<double> low, high;
};

struct ResultView {
  std::string file;  // its name, without a folder
  std::string name, question, kind, tool;
  std::string word, reason;  // FASTER, EQUIVALENT, SLOWER, INCONCLUSIVE, INVALID; one sentence
  std::string primary;
  bool higher_is_better = false;  // of the primary
  bool exploratory = false;
  std::optional<double> threshold_percent, noise_floor_percent;
  std::string noise_floor_from;
  std::vector<Fact> plan, build, environment, workload;
  std::vector<KnobRow> arms;  // what the scenario sets differently, no origins
  std::vector<KnobRow> knobs;
  std::vector<KnobRow> paths;  // which way each arm went, and how its files lay in memory; no origins
  std::vector<Axis> axes;
  std::vector<CrossingView> crossings;
  std::vector<std::string> crossing_sentences;
  std::vector<CellView> cells;
  std::vector<SampleView> samples;  // in the order they ran
  std::vector<TraceView> traces;
  std::string scenario;             // the file that ran, indented JSON
  std::string kept_copy;            // of a published report: the result itself, stripped (bench/report/strip.h)

  bool shows_each_cell() const { return cells.size() <= 8; }  // more are a map: pictures of every cell would hide it
};

// std::runtime_error naming the file for anything that is not a result of this program or of an older version of it.
ResultView load_result(const std::filesystem::path& file, bool publish);

}  // namespace crossover::report
