// `crossover doctor --noise SCENARIO`.
#pragma once

#include <string>
#include <vector>

#include "bench/noise/noise_run.h"

namespace CLI { class App; }

namespace crossover::commands {

struct NoiseCommand {
  std::string scenario, out;
  std::vector<std::string> sets;
  NoisePlan plan;
  bool resume = false, quiet = false, inherit_env = false;
};

void add_noise_options(CLI::App& command, NoiseCommand& options);
void measure_noise_and_print(const NoiseCommand& options, bool as_json);

}  // namespace crossover::commands
