#include "engine/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <stdexcept>

namespace crossover {
namespace {

constexpr int kTerms = 15;

// 1/i!; each is the correctly rounded quotient, because the factorials are exact.
constexpr std::array<double, kTerms> kInverseFactorials = [] {
  std::array<double, kTerms> inverse{};
  double factorial = 1;
  for (int i = 0; i < kTerms; ++i) {
    if (i > 0) factorial *= i;
    inverse[i] = 1 / factorial;
  }
  return inverse;
}();

// e^x for x <= 0 from operations that IEEE 754 fixes to the last bit; std::exp differs between C libraries and processors.
// Relative error below 1e-15. Below -708 the result is 0: such a share can never decide a draw of 53 bits.
double portable_exp(double x) {
  if (!(x > -708)) return 0;
  constexpr double kLn2High = 6.93147180369123816490e-01;  // 33 bits, so a product with a small integer is exact
  constexpr double kLn2Low = 1.90821492927058770002e-10;
  const auto power = static_cast<std::int64_t>(x / kLn2High - 0.5);           // -1022 to 0
  const auto whole = static_cast<double>(power);
  const double rest = (x - whole * kLn2High) - whole * kLn2Low;  // |rest| <= 0.35
  double sum = kInverseFactorials[kTerms - 1];
  for (int i = kTerms - 2; i >= 0; --i) sum = kInverseFactorials[i] + rest * sum;
  return sum * std::bit_cast<double>(static_cast<std::uint64_t>(power + 1023) << 52);
}

// The two highest, the lowest ids of equal logits.
Choice best_two(std::span<const float> logits) {
  if (logits.empty()) throw std::invalid_argument("no logits to choose a token from");
  std::size_t best = 0, second = 0;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (std::isnan(logits[i]) || logits[i] == std::numeric_limits<float>::infinity())
      throw std::runtime_error(
          fmt::format("logit {} is {}; the weights or the arithmetic of the model are broken", i, logits[i]));
    if (logits[i] > logits[best]) second = best, best = i;
    else if (i > 0 && (second == best || logits[i] > logits[second])) second = i;
  }
  if (std::isinf(logits[best])) throw std::runtime_error("every logit is -inf; there is no token to choose");
  return {static_cast<std::int32_t>(best), static_cast<std::int32_t>(second), logits[best], logits[second]};
}

}  // namespace

Sampler::Sampler(const SamplerOptions& options) : options_(options), random_(options.seed) {
  if (!std::isfinite(options.temperature) || options.temperature < 0)
    throw std::invalid_argument(fmt::format("temperature is {}; use 0 (greedy) or more", options.temperature));
  if (options.top_k < 0) throw std::invalid_argument(fmt::format("top-k is {}; use 0 (all) or more", options.top_k));
  if (!(options.top_p > 0 && options.top_p <= 1))
    throw std::invalid_argument(fmt::format("top-p is {}; use more than 0 and at most 1", options.top_p));
}

std::int32_t Sampler::sample(std::span<const float> logits) {
  last_ = best_two(logits);
  if (options_.temperature == 0) return last_.id;
  weigh(logits, last_.logit);
  const std::int32_t drawn = draw(keep_most_likely());
  if (drawn != last_.id) last_ = {drawn, last_.id, logits[static_cast<std::size_t>(drawn)], last_.logit};
  return drawn;
}

void Sampler::weigh(std::span<const float> logits, float highest) {
  candidates_.clear();
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const double below = static_cast<double>(logits[i]) - highest;
    candidates_.push_back({portable_exp(below / options_.temperature), logits[i], static_cast<std::int32_t>(i)});
  }
}

// Applies top_k, then top_p; the sum of the weights that are left. A heap gives only as many in order as are needed.
double Sampler::keep_most_likely() {
  const auto sum = [this] {
    double total = 0;
    for (const Candidate& candidate : candidates_) total += candidate.weight;
    return total;
  };
  const bool cut_k = options_.top_k > 0 && static_cast<std::size_t>(options_.top_k) < candidates_.size();
  if (!cut_k && options_.top_p == 1) return sum();
  const auto less_likely = [](const Candidate& a, const Candidate& b) {
    return a.logit < b.logit || (a.logit == b.logit && a.id > b.id);
  };
  if (cut_k) {
    const auto end = candidates_.begin() + options_.top_k;
    std::nth_element(candidates_.begin(), end, candidates_.end(),
                     [&](const Candidate& a, const Candidate& b) { return less_likely(b, a); });
    candidates_.erase(end, candidates_.end());
    std::sort(candidates_.begin(), candidates_.end(), [](const Candidate& a, const Candidate& b) { return a.id < b.id; });
  }
  const double total = sum();
  if (options_.top_p == 1) return total;
  std::make_heap(candidates_.begin(), candidates_.end(), less_likely);
  auto heap_end = candidates_.end();
  double kept = 0;
  while (heap_end != candidates_.begin() && kept < options_.top_p * total) {
    std::pop_heap(candidates_.begin(), heap_end, less_likely);
    kept += (--heap_end)->weight;
  }
  candidates_.erase(candidates_.begin(), heap_end);
  return kept;
}

std::int32_t Sampler::draw(double total) {
  const double uniform = static_cast<double>(random_() >> 11) * 0x1p-53;  // [0, 1)
  const double target = uniform * total;
  double passed = 0;
  const Candidate* chosen = nullptr;
  for (const Candidate& candidate : candidates_) {
    if (candidate.weight == 0) continue;
    chosen = &candidate;
    passed += candidate.weight;
    if (target < passed) break;
  }
  return chosen->id;  // the highest logit has weight 1, so there is one
}

}  // namespace crossover
