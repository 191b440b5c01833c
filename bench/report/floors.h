// A load beside its floors, as lines that the Markdown and the HTML report both show.
#pragma once

#include <string>
#include <vector>

#include "bench/report/view.h"

namespace crossover::report {

struct FloorLine {
  std::string what, a, b;
  bool derived = false;  // computed for the whole model, not measured
};

std::vector<FloorLine> floor_lines(const CellView& cell);  // none where nothing was loaded

inline constexpr const char* kFloorsNote =
    "Floors are the bytes read over the read rate and the weights quantized over the quantizer's rate on all cores, both rates measured on "
    "this machine right before the plan; a load overlaps the two, so the larger one bounds it. Derived lines scale the run to the whole "
    "model by its bytes and weights: they are no measurement.";

}  // namespace crossover::report
