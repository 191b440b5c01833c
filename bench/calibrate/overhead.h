// What the harness itself costs a sample, measured on samples that do next to nothing.
#pragma once

#include <filesystem>
#include <vector>

namespace crossover {

// Readings of CLOCK_MONOTONIC around one sample, seconds. The child reads the middle three.
struct SampleStamps {
  double spawned_s = 0, main_s = 0, window_begin_s = 0, window_end_s = 0;
  double answered_s = 0;  // its exit was seen and its answer is in hand
  double journal_begin_s = 0, journal_end_s = 0;
  double harness_cpu_s = 0;  // processor time of this process from the spawn to the answer

  double start_s() const { return main_s - spawned_s; }
  double finish_s() const { return answered_s - window_end_s; }
  double journal_s() const { return journal_end_s - journal_begin_s; }
  double overhead_s() const { return start_s() + journal_s(); }
  // Everything the harness did lies before the window or after it.
  bool window_is_clean() const {
    return spawned_s <= main_s && main_s <= window_begin_s && window_begin_s <= window_end_s && window_end_s <= answered_s &&
           answered_s <= journal_begin_s && journal_begin_s <= journal_end_s;
  }
};

// The last sample's window is of kLongWindow_s, for what the harness takes while it waits. `program` is crossover; the journal is made and removed below `folder`, whose disk decides what its fsync costs.
// std::runtime_error when the program cannot be run or the folder not be written.
std::vector<SampleStamps> measure_overhead(const std::filesystem::path& program, const std::filesystem::path& folder, int samples);

inline constexpr double kLongWindow_s = 1;

struct OverheadPart { double median_s = 0, worst_s = 0; };

struct OverheadSummary {
  OverheadPart start, finish, journal, overhead;  // overhead: start and journal of the same sample
  double watching_share = 0;  // of one core, while a sample runs: its memory is looked at and its output read
  int samples = 0, clean_windows = 0;
};
OverheadSummary summarise(const std::vector<SampleStamps>& stamps);  // std::invalid_argument for fewer than two

}  // namespace crossover
