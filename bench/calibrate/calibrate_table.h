// What `crossover calibrate` counted, as a file and as tables of Markdown that are also readable on a terminal.
#pragma once

#include <string>

#include "bench/calibrate/calibrate.h"
#include "bench/calibrate/calibrate_processes.h"
#include "bench/calibrate/overhead.h"

namespace crossover {

inline constexpr double kOverheadLimit_s = 0.015;  // spawn to main and the journal, of a typical sample

// Files of schema "crossover.calibration/1": of simulated programs, and of real processes (without runs: the overhead alone).
std::string calibration_json(const Calibration& calibration);
std::string calibration_json(const ProcessCalibration& calibration, const OverheadSummary& overhead);

// `json` is such a file. Kinds: "shapes" (a row each, under it what their names mean), "checks", "habits" of the one, "processes",
// "overhead" of the other. std::runtime_error for a kind that the file does not have.
std::string calibration_table(const std::string& json, const std::string& kind);

}  // namespace crossover
