// Self-validation: simulated programs whose truth is known go through the pipeline of a run (make_plan, samples, judge), many
// times each, and what it says of them is counted.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "bench/calibrate/proportion.h"
#include "bench/targets/simulated.h"

namespace crossover {

struct NoiseShape {
  std::string name, says;  // says: what it is, for a table
  SimulatedProgram program;
};

// All shapes, for plans of that many pairs; sigma, the SD between processes, is 1 %.
std::vector<NoiseShape> noise_shapes(int pairs);
NoiseShape noise_shape(const std::string& name, int pairs);  // std::invalid_argument with the nearest right name

struct CalibrationOptions {
  int experiments = 10000;          // of each kind and shape
  int pairs = 8;
  std::uint64_t seed = 1;
  int threads = 1;                  // changes no number
  std::vector<std::string> shapes;  // names; empty = all
  std::function<void(const std::string& what, std::int64_t done, std::int64_t total)> progress;  // called by one thread; may be empty
};

inline constexpr double kFalseVerdictLimit = 0.057;  // of 5 % nominal: three standard errors of 10,000 above it
inline constexpr double kCoverageLimit = 0.94, kFoundLimit = 0.80, kInvalidLimit = 0.02;

enum class Holds { kYes, kOpen, kNo };

// One thing that was counted. A limit that is absent is not a criterion.
struct CalibrationRate {
  std::string shape, measure, says;
  Proportion counted;
  std::optional<double> limit;  // of the share
  bool at_most = true;          // the limit is an upper one
  // kNo: on the wrong side of the limit. Fewer than kDecisiveExperiments whose interval still reaches the limit are kOpen.
  Holds holds() const;
};

inline constexpr std::int64_t kDecisiveExperiments = 10000;

// Measures. Of every shape:
//   false_verdict     no effect, threshold 0, yet FASTER or SLOWER (at most 5.7 %: 5 % and three standard errors of 10,000)
//   covered           no effect: the 95 % interval holds 0 (at least 94 %)
//   found             B faster by 1.5 x the population MDE: FASTER (at least 80 %)
//   covered_planted   its interval holds the planted effect (at least 94 %)
//   invalid           no effect: INVALID (at most 2 %)
// Beside them `checks` of order effects, equivalence and controls; see calibrate.cpp.
struct Calibration {
  CalibrationOptions options;
  std::vector<NoiseShape> shapes;
  std::vector<double> planted_ln;      // by shape
  std::vector<CalibrationRate> rates;  // by shape
  std::vector<CalibrationRate> checks;
  std::vector<CalibrationRate> habits;  // the same programs measured as bench/calibrate/usual_habits.h does: without limits
};

// std::invalid_argument: an unknown shape with the nearest right name, fewer than 4 pairs or an odd number, no experiment.
// std::runtime_error when interrupted.
Calibration calibrate(const CalibrationOptions& options);

// Of all criteria; kYes without any.
Holds worst(const std::vector<CalibrationRate>& rates);

}  // namespace crossover
