#include "bench/targets/simulated.h"

#include <cmath>
#include <numbers>

namespace crossover {

namespace {

// A standard normal number from (seed, index): SplitMix64 twice, then Box and Muller.
double normal(std::uint64_t seed, std::uint64_t index) {
  const auto uniform = [](std::uint64_t z) {
    z += 0x9e3779b97f4a7c15U;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return (static_cast<double>((z ^ (z >> 31)) >> 11) + 0.5) * 0x1p-53;
  };
  const std::uint64_t at = seed * 0x2545f4914f6cdd1dU + 2 * index;
  return std::sqrt(-2 * std::log(uniform(at))) * std::cos(2 * std::numbers::pi * uniform(at + 1));
}

}  // namespace

Sample SimulatedTarget::take(const SampleRequest& request) {
  const bool second = request.pair == last_pair_ && request.cell == last_cell_ && !request.control;
  last_pair_ = request.pair, last_cell_ = request.cell;
  const auto index = static_cast<std::uint64_t>(2 * request.position);
  double ln = program_.noise_ln * normal(program_.seed, index) + program_.drift_ln * taken_++;
  if (request.arm == 'B') ln += program_.effect_ln;
  if (second) ln += program_.second_ln;
  Sample sample;
  sample.metrics["wall_s"] = program_.base_s * std::exp(ln);
  sample.metrics["control_s"] = 0.1 * program_.base_s * std::exp(program_.noise_ln * normal(program_.seed, index + 1));
  sample.output_hash = "output";
  sample.path["kernel"] = "one";
  if (program_.alter) program_.alter(request, sample);
  return sample;
}

}  // namespace crossover
