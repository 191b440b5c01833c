// Places for phases that have lengths but no place in time.
#pragma once

#include <vector>

#include "bench/report/view.h"

namespace crossover::report {

// Start of each phase, in seconds: shares of a whole start where it does, and siblings of a rank that would lie over each other are laid
// end to end.
std::vector<double> laid_out_starts_s(const std::vector<SampleView::Phase>& phases);

}  // namespace crossover::report
