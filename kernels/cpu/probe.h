// How fast this CPU multiplies and adds: the ceilings that measured rates stand beside.
#pragma once

#include <cstdint>

#include "kernels/cpu/isa.h"

namespace crossover::cpu {

struct Probe {
  std::int64_t operations_per_step = 0;  // a multiply and an add count one each
  // Independent chains of multiply-add in registers; the result only keeps them alive. nullptr: no such instruction.
  float (*run)(std::int64_t steps) = nullptr;
};

struct Probes {
  Probe f32{};   // multiply-add
  Probe int8{};  // unsigned by signed bytes summed in 32 bits: vpdpbusd, or vpmaddubsw, vpmaddwd and vpaddd
  Probe bf16{};  // pairs of bf16 summed in f32: vdpbf16ps, or tdpbf16ps
};

const Probes& probes(Isa isa);  // isa <= highest_isa()

}  // namespace crossover::cpu
