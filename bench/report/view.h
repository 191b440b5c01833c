// A result file as the report shows it: plain data, every value already checked.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace crossover::report {

struct Interval {
  double low, high;
};

struct MetricRow {
  std::string name;
  std::optional<double> a, b;  // medians over the samples that worked, in the metric's unit
  std::optional<double> effect_percent, order_effect_percent, hodges_lehmann_percent, mde_percent;
  std::optional<Interval> interval_percent, order_interval_percent, hodges_lehmann_interval_percent;
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

// One arm's load beside what bounds it; `whole_*` is derived from the run for the model with nothing cut.
struct FloorView {
  std::optional<double> total_s, bytes_read, read_bytes_per_s, read_floor_s, quantized_values, quantize_values_per_s, quantize_floor_s;
  std::optional<double> ratio, busy_share, peak_memory_bytes, held_bytes;
  std::string whole;  // "qwen3.6-27b, 64 layers, vocabulary 248320"; empty without one
  std::optional<double> whole_total_s, whole_read_floor_s, whole_quantize_floor_s;
};

struct CellView {
  std::string name;  // empty where the run has one cell
  std::string word, reason;
  std::vector<MetricRow> metrics;  // the primary first
  std::vector<PhaseRow> phases;
  std::optional<double> residual_s;
  std::optional<FloorView> floors_a, floors_b;
  std::vector<Fact> gates;  // outputs, controls, determinism, paths
};

struct SampleView {
  std::string arm;
  long pair = 0, position = 0, cell = 0;
  std::string failure;   // why there is no measurement; empty for a good sample
  bool control = false;  // the determinism control, not analysed
  std::map<std::string, double> metrics;
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

struct KnobRow {
  std::string name, a, a_origin, b, b_origin;
};

struct ResultView {
  std::string file;  // its name, without a folder
  std::string name, question;
  std::string word, reason;  // FASTER, EQUIVALENT, SLOWER, INCONCLUSIVE, INVALID; one sentence
  std::string primary;
  std::vector<Fact> plan, build, environment, difference;  // difference: what arm B has that A has not
  std::vector<KnobRow> knobs;
  std::vector<KnobRow> paths;  // which way each arm went, and how its files lay in memory; no origins
  std::vector<CellView> cells;
  std::vector<SampleView> samples;  // in the order they ran
  std::string scenario;             // the file that ran, indented JSON
  std::string kept_copy;            // of a published report: the result itself, stripped (bench/report/strip.h)
};

// std::runtime_error naming the file for anything that is not a result of this program or of an older version of it.
ResultView load_result(const std::filesystem::path& file, bool publish);

}  // namespace crossover::report
