// What the load knobs resolve to.
#pragma once

#include <string>

#include "engine/checkpoint/read_rows.h"
#include "engine/knobs.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/micro.h"

namespace crossover {

inline cpu::Isa isa_of(const Knobs& knobs) {
  const std::string& wanted = knobs.get("CROSSOVER_ISA");
  return wanted == "auto" ? cpu::best_isa() : cpu::parse_isa(wanted).value();
}
inline const cpu::Micro* load_micro(const Knobs& knobs) { return &cpu::micro(isa_of(knobs)); }
inline bool is_serial(const Knobs& knobs) { return knobs.get("CROSSOVER_QUANT_SCHEDULE") == "serial"; }
inline ReadMode read_mode(const Knobs& knobs) { return knobs.get("CROSSOVER_READ") == "mmap" ? ReadMode::kMap : ReadMode::kRead; }
inline std::string quantize_path(const Knobs& knobs, const cpu::Micro* micro) {
  return knobs.get("CROSSOVER_QUANT_SCHEDULE") + "-" + (micro ? cpu::name(micro->isa) : "scalar");
}

}  // namespace crossover
