// A quiet simulated program with something planted in its samples.
#pragma once

#include <functional>
#include <utility>

#include "bench/tests/simulation.h"

namespace crossover {

using Alter = std::function<void(const SampleRequest&, Sample&)>;

inline SimulatedProgram altered(Alter alter) {
  SimulatedProgram program;
  program.noise_ln = 0.002;
  program.alter = std::move(alter);
  return program;
}

}  // namespace crossover
