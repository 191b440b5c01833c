// What the load knobs resolve to.
#pragma once

#include <algorithm>
#include <stdexcept>
#include <string>

#include "engine/knobs.h"
#include "engine/load/fetch/fetch.h"
#include "engine/load/loader.h"
#include "engine/load/read_choice.h"
#include "engine/load/schedule.h"
#include "engine/load/shard_plan.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/micro.h"

namespace crossover {

inline cpu::Isa isa_of(const Knobs& knobs) {
  const std::string& wanted = knobs.get("CROSSOVER_ISA");
  return wanted == "auto" ? cpu::best_isa() : cpu::parse_isa(wanted).value();
}
inline const cpu::Micro* load_micro(const Knobs& knobs) { return &cpu::micro(isa_of(knobs)); }
inline Schedule schedule_of(const Knobs& knobs) { return parse_schedule(knobs.get("CROSSOVER_QUANT_SCHEDULE")); }

// Where a choice stands in the list of its values.
inline std::size_t choice(const Knobs& knobs, std::string_view name) {
  const std::vector<std::string>& values = find_knob(name)->values;
  return static_cast<std::size_t>(std::find(values.begin(), values.end(), knobs.get(name)) - values.begin());
}

// `passes`: direct_passes of what is to be loaded.
inline ReadChoice read_choice(const Knobs& knobs, const Source& source, double passes) {
  const std::size_t value = choice(knobs, "CROSSOVER_READ");
  return value == 0 ? choose_read(source, passes) : ReadChoice{static_cast<ReadMode>(value - 1), "", false};
}

inline HeadPolicy head_policy(const Knobs& knobs) { return static_cast<HeadPolicy>(choice(knobs, "CROSSOVER_LM_HEAD")); }
inline Pin pin_of(const Knobs& knobs) { return static_cast<Pin>(choice(knobs, "CROSSOVER_PIN")); }

// std::invalid_argument where panels are asked of a backend that cannot take them.
inline void check_weight_layout(const Knobs& knobs, const std::string& backend) {
  if (knobs.get("CROSSOVER_WEIGHT_LAYOUT") == "panels" && backend != "cpu")
    throw std::invalid_argument("CROSSOVER_WEIGHT_LAYOUT=panels was asked of the " + backend + " backend, but only the cpu backend takes panels; use auto or rows");
}

// std::invalid_argument where a device is asked for that the backend does not have.
inline bool quantizes_on_device(const Knobs& knobs, const std::string& backend) {
  if (knobs.get("CROSSOVER_QUANT_PLACE") == "host") return false;
  if (backend != "cuda")
    throw std::invalid_argument("CROSSOVER_QUANT_PLACE=device was asked of the " + backend + " backend, but only the cuda backend has a device; use host");
  return true;
}

// micro: null on other backends. Portable code multiplies rows eight times as fast as panels.
inline Layout weight_layout(const Knobs& knobs, const cpu::Micro* micro) {
  const std::string& value = knobs.get("CROSSOVER_WEIGHT_LAYOUT");
  const bool panels = value == "panels" || (value == "auto" && micro && micro->isa != cpu::Isa::kPortable);
  return panels ? Layout::kPanels : Layout::kRows;
}

inline PhaseDelay delay_of(const Knobs& knobs) {
  const std::string& value = knobs.get("CROSSOVER_LOAD_DELAY");
  if (value == "none") return {};
  const auto colon = value.find(':');
  return {value.substr(0, colon), static_cast<double>(std::stol(value.substr(colon + 1))) * 1e-3};
}

inline FetchOptions fetch_options(const Knobs& knobs, ReadMode mode) {
  return {mode, knobs.flag("CROSSOVER_READ_AHEAD"), std::int64_t{knobs.integer("CROSSOVER_LOAD_BUFFER_MIB")} << 20,
          static_cast<int>(knobs.integer("CROSSOVER_READ_THREADS")), delay_of(knobs)};
}

}  // namespace crossover
