// The choice of the next token from a row of logits.
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <vector>

namespace crossover {

struct SamplerOptions {
  double temperature = 0;  // 0: greedy, the lowest id of equal logits; top_k, top_p and seed then do nothing
  std::int64_t top_k = 0;  // 0: all; the lowest ids of equal logits are kept
  double top_p = 1;        // of what top_k left: the fewest most likely tokens whose shares reach this
  std::uint64_t seed = 0;
};

// How a token was chosen: the distance to the runner-up says how near a tie it was.
struct Choice {
  std::int32_t id = -1, runner_up = -1;  // the best token but the chosen one; the chosen one in a vocabulary of one
  float logit = 0, runner_up_logit = 0;
};

// Same options and logits, same tokens, on every machine and with every C++ library. Copying it copies its place in the sequence.
class Sampler {
 public:
  // std::invalid_argument names the option that is out of range.
  explicit Sampler(const SamplerOptions& options);

  // std::runtime_error for a NaN or +infinity; -infinity is never chosen, and all of them is an error.
  std::int32_t sample(std::span<const float> logits);  // [vocab]
  const Choice& last() const { return last_; }         // of the latest sample()

 private:
  struct Candidate {
    double weight;  // exp((logit - highest) / temperature)
    float logit;
    std::int32_t id;
  };
  std::int32_t draw(double total);
  void weigh(std::span<const float> logits, float highest);
  double keep_most_likely();

  SamplerOptions options_;
  Choice last_;
  std::mt19937_64 random_;  // its sequence is fixed by the standard; that of std::*_distribution is not
  std::vector<Candidate> candidates_;
};

}  // namespace crossover
