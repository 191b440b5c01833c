// What no program can do on this machine: the work of a phase (kernels/cost.h, counted by the operations that ran) against the rates
// that the machine reached when it was measured. A sample above them has a bug in its timing, or left work out.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "bench/load_floors.h"
#include "bench/machine/machine.h"
#include "bench/sample.h"

namespace crossover {

// A measured ceiling is itself taken on a machine that may have been disturbed: only beyond this factor is a number impossible.
inline constexpr double kSpeedMargin = 1.5;

struct SpeedLimits {
  Ceilings ceilings;               // of all threads
  std::optional<LoadRates> load;   // of the arm
};

// One text for each phase that was faster than kSpeedMargin allows, a flag "impossible: ..." with the numbers. Empty for a sample
// without counted work. Bounds, each on the safe side:
//   prefill, decode: flops over the fastest arithmetic of any type;
//   decode: weights read once a token, as far as they exceed the caches, over the memory's rate (Williams et al., CACM 2009);
//   load: values quantized over the rate of all its threads.
std::vector<std::string> impossible_speeds(const Sample& sample, const SpeedLimits& limits);

}  // namespace crossover
