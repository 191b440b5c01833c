// A program that exists only as numbers, with a clock of its own: what the harness says about it can be checked against the truth.
// A sample is a function of the program and of its position in the plan alone, so a resumed run or a real process plays the same.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "bench/plan.h"
#include "bench/targets/target.h"

namespace crossover {

// Everything on the ln scale; "sigma" is noise_ln.
struct SimulatedProgram {
  double base_s = 1;             // of A
  double effect_ln = 0;          // ln(B/A)
  double noise_ln = 0.01;        // SD between processes of everything random but the clocks
  int tail_df = 0;               // heavy tails: Student t of so many degrees of freedom, 3 or more, scaled to noise_ln; 0 = normal
  double correlation = 0;        // AR(1): of a sample's noise with that of the sample before it, 0 to below 1
  double drift_ln = 0;           // per sample: a machine that warms up or a disk that fills
  double warm_up_ln = 0;         // of the first sample; decays exponentially,
  double warm_up_samples = 3;    // to 1/e within so many samples
  double slow_clock_ln = 0;      // added while the clock is slow
  double slow_clock_share = 0.5;  // of the samples
  double clock_stays = 0;        // probability that a sample keeps the clock of the one before instead of drawing its own
  double second_ln = 0;          // added to the second sample of a pair: an order effect
  double control_share = 0.1;    // of base_s, the mean of metric control_s, with normal noise of its own
  double control_effect_ln = 0;  // ln(B/A) of control_s
  std::uint64_t seed = 1;
  std::function<void(const SampleRequest&, Sample&)> alter;  // plants whatever else a test needs
};

// The random part of a program's samples by position, drawn in order of position however they are asked for. Boost.Random: the same
// numbers on every machine, which the standard library's distributions do not promise.
class SimulatedNoise {
 public:
  explicit SimulatedNoise(const SimulatedProgram& program);
  ~SimulatedNoise();
  struct Draw { double time_ln, control_ln; };
  Draw at(int position);  // std::invalid_argument for a negative position or parameters out of range

 private:
  struct State;
  std::unique_ptr<State> state_;
};

class SimulatedTarget : public Target {
 public:
  explicit SimulatedTarget(SimulatedProgram program) : program_(std::move(program)), noise_(program_) {}

  void prepare(const SampleRequest&) override {}
  std::vector<std::filesystem::path> files(const SampleRequest&) override { return {}; }
  Sample take(const SampleRequest& request) override;  // metrics wall_s and control_s, output and path equal in both arms

 private:
  SimulatedProgram program_;
  SimulatedNoise noise_;
};

// Every sample of a plan, as a run takes them.
std::vector<Sample> simulate(const Plan& plan, const SimulatedProgram& program);

// Standard error that the effect of a plan of `pairs` pairs truly has, ln scale: Var(u)/n, where u is the difference of neighbours and
// drift and warm-up count as a finite population that the random order samples from.
double population_standard_error(const SimulatedProgram& program, int pairs);

}  // namespace crossover
