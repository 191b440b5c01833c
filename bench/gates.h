// What must hold before a number may be called a verdict: outputs, paths, conditions. Each check answers with one sentence, empty
// when nothing is wrong.
#pragma once

#include <string>
#include <vector>

#include "bench/verdict.h"

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

std::string wrong_path(const Expectations& expect, const CellSamples& cell);
std::string not_different(const Expectations& expect, const CellSamples& cell);
std::string unlike_conditions(const CellSamples& cell);  // page cache, throttling, impossible numbers, reused prompts

bool looks_inert(const Cell& cell, const CellSamples& samples);  // unlike knobs, equal paths and counters

}  // namespace crossover
