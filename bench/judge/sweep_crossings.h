// The crossings of a judged sweep.
#pragma once

#include "bench/judge/verdict.h"

namespace crossover {

// One for each curve over the only field of the sweep that takes several numbers; none where there is no such field or more than one,
// or one of its values is not above 0. Cells that are INVALID are left out: their numbers say nothing.
std::vector<CurveCrossings> sweep_crossings(const Scenario& scenario, const Verdict& verdict);

}  // namespace crossover
