// The order of all samples, decided and hashed before the first one is taken.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bench/scenario.h"

namespace crossover {

struct PlannedSample {
  char arm = 'A';
  int cell = 0, pair = 0, position = 0;  // pair: within the cell; position: place in the order over everything
  bool control = false;                  // one more A per cell with the prompt of pair 0, after the plan
  std::uint64_t prompt_seed = 0;         // a function of (plan seed, cell, pair)
};

// The plan that was run, and judged, before this one was made with more pairs.
struct ExtendedPlan {
  std::string plan_hash;
  int pairs = 0;
};

struct Plan {
  std::vector<PlannedSample> samples;
  std::string hash;  // SHA-256 over the scenario as run and this order
};

// Seeded: in each cell half of the pairs are AB and half BA, in random places; the pairs of all cells are shuffled together and the
// two samples of a pair are neighbours. With several looks this holds for the pairs up to the first, and again from each look to the
// next. The same scenario gives the same plan on every machine. `extends` is the hash of the plan that this one was made after,
// because its result called for more pairs than it had declared; empty for all others.
Plan make_plan(const Scenario& scenario, const std::string& extends = "");

std::string nonce_of(const Plan& plan, const PlannedSample& sample);  // 16 hexadecimal digits, unlike in every sample

}  // namespace crossover
