#include "bench/plan.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "bench/random.h"
#include "bench/sha256.h"

namespace crossover {

namespace {

std::uint64_t prompt_seed_of(std::uint64_t seed, int cell, int pair) {
  Random random{seed ^ 0x70726f6d7074U};
  random.state = random.next() + static_cast<std::uint64_t>(cell);
  random.state = random.next() + static_cast<std::uint64_t>(pair);
  return random.next() >> 11;  // 53 bits: survives JSON readers that keep numbers as doubles
}

struct PlannedPair {
  int cell, pair;
  char first;
};

std::string hash_of(const Scenario& scenario, const std::vector<PlannedSample>& samples, const std::string& extends) {
  nlohmann::json plan{{"schema", "crossover.plan/1"}, {"scenario", nlohmann::json::parse(scenario.json)}};
  if (!extends.empty()) plan["extends"] = extends;
  for (const PlannedSample& sample : samples)
    plan["samples"].push_back({std::string(1, sample.arm), sample.cell, sample.pair, sample.control, sample.prompt_seed});
  return sha256_text(plan.dump());
}

// The pairs from `begin` to `end` of every cell, both orders equally often.
std::vector<PlannedPair> shuffled_block(std::size_t cells, int begin, int end, Random& random) {
  std::vector<PlannedPair> pairs;
  for (int cell = 0; cell < static_cast<int>(cells); ++cell) {
    std::vector<char> firsts(static_cast<std::size_t>(end - begin), 'A');
    std::fill(firsts.begin() + (end - begin) / 2, firsts.end(), 'B');
    random.shuffle(firsts);
    for (int pair = begin; pair < end; ++pair) pairs.push_back({cell, pair, firsts[static_cast<std::size_t>(pair - begin)]});
  }
  random.shuffle(pairs);
  return pairs;
}

}  // namespace

Plan make_plan(const Scenario& scenario, const std::string& extends) {
  Random random{scenario.seed};
  Plan plan;
  const auto add = [&](char arm, int cell, int pair, bool control) {
    plan.samples.push_back({arm, cell, pair, static_cast<int>(plan.samples.size()), control, prompt_seed_of(scenario.seed, cell, pair)});
  };
  int begin = 0;
  for (const int look : scenario.looks) {
    for (const PlannedPair& pair : shuffled_block(scenario.cells.size(), begin, look, random))
      for (const char arm : {pair.first, pair.first == 'A' ? 'B' : 'A'}) add(arm, pair.cell, pair.pair, false);
    begin = look;
  }
  for (int cell = 0; cell < static_cast<int>(scenario.cells.size()); ++cell) add('A', cell, 0, true);
  plan.hash = hash_of(scenario, plan.samples, extends);
  return plan;
}

std::string nonce_of(const Plan& plan, const PlannedSample& sample) {
  return sha256_text(fmt::format("{} {}", plan.hash, sample.position)).substr(0, 16);
}

}  // namespace crossover
