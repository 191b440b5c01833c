// The environment block of a sample: rebuilt from scratch, without the caller's knobs, equally long in every sample (a longer block
// moves the stack, and that alone can change a program's speed).
#pragma once

#include <string>
#include <vector>

#include "bench/plan.h"
#include "bench/scenario.h"

namespace crossover {

struct AmbientEnvironment {
  std::vector<std::string> kept;     // "NAME=value"
  std::vector<std::string> dropped;  // names of CROSSOVER_* variables that no sample sees
};

// `block` is the caller's environment. With `inherit`, registered knobs that the scenario does not set stay.
// std::invalid_argument for a variable that names a knob the scenario sets: it would have turned A against B into A against A.
AmbientEnvironment split_environment(char* const* block, const Scenario& scenario, bool inherit);

// {arm}, {sample} and {nonce} replaced.
std::string fill_placeholders(std::string text, char arm, int position, const std::string& nonce);

// One block for each planned sample, all with the same number of entries and bytes.
std::vector<std::vector<std::string>> sample_environments(const Scenario& scenario, const Plan& plan, const AmbientEnvironment& ambient);

}  // namespace crossover
