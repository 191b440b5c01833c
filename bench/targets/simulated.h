// A program that exists only as numbers, with a clock of its own: what the harness says about it can be checked against the truth.
#pragma once

#include <cstdint>
#include <functional>

#include "bench/targets/target.h"

namespace crossover {

struct SimulatedProgram {
  double base_s = 1;             // of A
  double effect_ln = 0;          // ln(B/A)
  double noise_ln = 0.01;        // SD between processes
  double drift_ln = 0;           // per sample: a machine that warms up or a disk that fills
  double second_ln = 0;          // added to the second sample of a pair: an order effect
  std::uint64_t seed = 1;
  std::function<void(const SampleRequest&, Sample&)> alter;  // plants whatever else a test needs
};

class SimulatedTarget : public Target {
 public:
  explicit SimulatedTarget(SimulatedProgram program) : program_(std::move(program)) {}

  void prepare(const SampleRequest&) override {}
  std::vector<std::filesystem::path> files(const SampleRequest&) override { return {}; }
  Sample take(const SampleRequest& request) override;  // metrics wall_s and control_s, output and path equal in both arms

 private:
  SimulatedProgram program_;
  int taken_ = 0, last_pair_ = -1, last_cell_ = -1;
};

}  // namespace crossover
