// `crossover doctor --noise SCENARIO`.
#pragma once

#include <string>
#include <vector>

#include "bench/commands/command_line.h"
#include "bench/noise/noise_run.h"

namespace crossover::commands {

struct NoiseCommand {
  std::string scenario, out;
  std::vector<std::string> sets;
  NoisePlan plan;
  bool resume = false, quiet = false, inherit_env = false;
};

void add_noise_options(Command command, NoiseCommand& options);
void measure_noise_and_print(const NoiseCommand& options, bool as_json);

}  // namespace crossover::commands
