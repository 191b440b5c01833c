// What must hold before a number may be called a verdict: outputs, paths, conditions. Each gate says what it found in one sentence,
// and what to do where it does not hold.
#pragma once

#include <string>
#include <vector>

#include "bench/judge/verdict.h"

namespace crossover {

struct SamplePair {
  const Sample* a;
  const Sample* b;
  bool a_first;
};

struct CellSamples {
  std::vector<SamplePair> pairs;      // both good
  std::vector<const Sample*> good;    // in either arm, the control left out
  const Sample* control = nullptr;    // the determinism control, where it was taken and good
  const Sample* first_a = nullptr;    // A of pair 0: the same prompt
  int failed_a = 0, failed_b = 0;
};

CellSamples collect_cell(const std::vector<Sample>& samples, int cell);

OutputAnalysis check_outputs(const Expectations& expect, const CellSamples& cell);

// All gates in the order in which they speak: failures, outputs, differs, path, page_cache, conditions, reuse, limits, boundaries,
// capacity, controls. `analysis` has its outputs and controls already.
std::vector<GateResult> check_gates(const Scenario& scenario, const Cell& cell, const CellSamples& samples, const CellAnalysis& analysis);

// What does not void a cell but belongs beside its word: "inert?" (unlike knobs, equal paths and counters), flags of samples with
// how many have them, unlike clocks, time that no phase explains, seconds beyond the life of the process.
std::vector<std::string> cell_flags(const Scenario& scenario, const Cell& cell, const CellSamples& samples);

// The clock that a sample ran at: cycles over task time where the kernel counts them, else the fastest core right after it.
std::optional<double> sample_mhz(const Sample& sample);

// The gates over conditions, one each (bench/judge/conditions_gate.cpp).
GateResult page_cache_gate(const Cell& cell, const CellSamples& samples);
GateResult conditions_gate(const Cell& cell, const CellSamples& samples);  // throttling, cores and priority
GateResult reuse_gate(const CellSamples& samples);
GateResult limits_gate(const Scenario& scenario, const CellSamples& samples);
GateResult boundaries_gate(const CellSamples& samples);
GateResult capacity_gate(const Cell& cell, const CellSamples& samples);

}  // namespace crossover
