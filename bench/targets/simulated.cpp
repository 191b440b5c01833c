#include "bench/targets/simulated.h"

#include <fmt/format.h>

#include <boost/random/mersenne_twister.hpp>
#include <boost/random/normal_distribution.hpp>
#include <boost/random/student_t_distribution.hpp>
#include <boost/random/uniform_01.hpp>
#include <cmath>
#include <stdexcept>

namespace crossover {

namespace {

void check(const SimulatedProgram& program) {
  const auto refuse = [](const char* what, double value, const char* wanted) {
    throw std::invalid_argument(fmt::format("a simulated program's {} is {}; it must be {}", what, value, wanted));
  };
  const auto share = [](double value) { return value >= 0 && value <= 1; };
  if (program.tail_df != 0 && program.tail_df < 3) refuse("tail_df", program.tail_df, "0, or 3 or more: fewer have no SD");
  if (!(program.correlation >= 0 && program.correlation < 1)) refuse("correlation", program.correlation, "0 to below 1");
  if (!share(program.slow_clock_share)) refuse("slow_clock_share", program.slow_clock_share, "0 to 1");
  if (!share(program.clock_stays)) refuse("clock_stays", program.clock_stays, "0 to 1");
  if (!(program.warm_up_samples > 0)) refuse("warm_up_samples", program.warm_up_samples, "above 0");
}

// What is the same in every run of the program.
double trend_ln(const SimulatedProgram& program, int position) {
  return program.drift_ln * position + program.warm_up_ln * std::exp(-position / program.warm_up_samples);
}

}  // namespace

struct SimulatedNoise::State {
  SimulatedProgram program;
  boost::random::mt19937_64 random;
  boost::random::normal_distribution<double> normal;
  boost::random::student_t_distribution<double> student{3};
  boost::random::uniform_01<double> uniform;
  double carried = 0;  // in sigma
  bool slow = false;
  std::vector<Draw> drawn;

  // Of SD 1.
  double innovation() {
    if (program.tail_df == 0) return normal(random);
    const double df = program.tail_df;
    return student(random) * std::sqrt((df - 2) / df);
  }

  void draw_next() {
    const double fresh = innovation();
    const double rho = drawn.empty() ? 0 : program.correlation;  // the first sample is from the stationary distribution
    carried = rho * carried + std::sqrt(1 - rho * rho) * fresh;
    const bool keeps = uniform(random) < program.clock_stays, own = uniform(random) < program.slow_clock_share;
    slow = keeps && !drawn.empty() ? slow : own;
    drawn.push_back({program.noise_ln * carried + (slow ? program.slow_clock_ln : 0), program.noise_ln * normal(random)});
  }
};

SimulatedNoise::SimulatedNoise(const SimulatedProgram& program) : state_(std::make_unique<State>()) {
  check(program);
  state_->program = program;
  state_->random.seed(program.seed);
  if (program.tail_df != 0) state_->student = boost::random::student_t_distribution<double>(program.tail_df);
}

SimulatedNoise::~SimulatedNoise() = default;

SimulatedNoise::Draw SimulatedNoise::at(int position) {
  if (position < 0) throw std::invalid_argument(fmt::format("there is no sample at position {}", position));
  while (state_->drawn.size() <= static_cast<std::size_t>(position)) state_->draw_next();
  return state_->drawn[static_cast<std::size_t>(position)];
}

Sample SimulatedTarget::take(const SampleRequest& request) {
  const SimulatedNoise::Draw noise = noise_.at(request.position);
  const bool second = !request.control && request.position % 2 == 1;  // the two samples of a pair are neighbours
  double ln = noise.time_ln + trend_ln(program_, request.position), control_ln = noise.control_ln;
  if (request.arm == 'B') ln += program_.effect_ln, control_ln += program_.control_effect_ln;
  if (second) ln += program_.second_ln;
  Sample sample;
  sample.metrics["wall_s"] = program_.base_s * std::exp(ln);
  sample.metrics["control_s"] = program_.control_share * program_.base_s * std::exp(control_ln);
  sample.output_hash = "output";
  sample.path["kernel"] = "one";
  if (program_.alter) program_.alter(request, sample);
  return sample;
}

std::vector<Sample> simulate(const Plan& plan, const SimulatedProgram& program) {
  SimulatedTarget target(program);
  std::vector<Sample> samples;
  for (const PlannedSample& planned : plan.samples) {
    SampleRequest request;
    request.arm = planned.arm, request.cell = planned.cell, request.pair = planned.pair;
    request.position = planned.position, request.control = planned.control;
    Sample sample = target.take(request);
    sample.arm = planned.arm, sample.cell = planned.cell, sample.pair = planned.pair;
    sample.position = planned.position, sample.control = planned.control;
    samples.push_back(std::move(sample));
  }
  return samples;
}

double population_standard_error(const SimulatedProgram& program, int pairs) {
  check(program);
  if (pairs < 2) throw std::invalid_argument(fmt::format("{} pairs have no standard error; take 4 or more", pairs));
  const double clocks = program.slow_clock_share * (1 - program.slow_clock_share) * (1 - program.clock_stays);
  const double random = program.noise_ln * program.noise_ln * (1 - program.correlation) + program.slow_clock_ln * program.slow_clock_ln * clocks;
  double sum = 0, squares = 0;
  for (int pair = 0; pair < pairs; ++pair) {
    const double step = trend_ln(program, 2 * pair + 1) - trend_ln(program, 2 * pair);
    sum += step, squares += step * step;
  }
  const double scatter = std::max(0.0, squares - sum * sum / pairs) / (pairs - 1);
  return std::sqrt((2 * random + scatter) / pairs);
}

}  // namespace crossover
