// Noise floors kept from one run to the next: one file for each machine, scenario and setting of A, written whole.
#pragma once

#include <filesystem>
#include <string>

#include "bench/noise/noise_floor.h"
#include "bench/scenario.h"

namespace crossover {

// $XDG_STATE_HOME/crossover/noise/MACHINE, else below ~/.local/state. std::runtime_error where neither variable is set.
std::filesystem::path noise_folder();

struct NoiseMeasured {
  CellNoise noise;         // `from` is made when it is read
  int comparisons = 0, pairs = 0, false_verdicts = 0;
};

// `cell` is one of the scenario's; its A is what was measured. Returns the file.
std::filesystem::path store_noise(const std::filesystem::path& folder, const Scenario& scenario, std::size_t cell, const NoiseMeasured& measured);

// For each cell what was measured of its A, with fewer than 10 comparisons nothing. A floor that another build of this program or
// another kernel measured is given and `from` names what differs. A damaged file is as none: `trouble` then says so.
NoiseFloors stored_noise(const std::filesystem::path& folder, const Scenario& scenario, std::string* trouble = nullptr);

}  // namespace crossover
