// How fast this CPU multiplies and adds: the ceiling that measured rates stand beside.
#pragma once

#include <cstdint>

#include "kernels/cpu/isa.h"

namespace crossover::cpu {

struct FmaProbe {
  std::int64_t flops_per_step;
  float (*run)(
      std::int64_t steps);  // independent chains of f32 multiply-add in registers; the result only keeps them alive
};

const FmaProbe& fma_probe(Isa isa);  // isa <= highest_isa()

}  // namespace crossover::cpu
