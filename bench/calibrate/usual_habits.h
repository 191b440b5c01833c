// How A and B are often compared, for showing what it costs: the same simulated programs, without plan and pairs. Nothing else may
// use these.
#pragma once

#include "bench/targets/simulated.h"

namespace crossover {

enum class Habit {
  kBlocks,       // all of A, then all of B; Welch's t test
  kAlternating,  // A B A B ... in fixed order; paired t test
};

// Whether `each` samples of A and as many of B differ at 5 %.
bool habit_sees_difference(Habit habit, const SimulatedProgram& program, int each);

}  // namespace crossover
