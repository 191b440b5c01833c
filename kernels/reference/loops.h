// What several reference operations share.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/ops.h"

namespace crossover::reference {

inline double sigmoid(double x) { return x >= 0 ? 1 / (1 + std::exp(-x)) : std::exp(x) / (1 + std::exp(x)); }
inline double silu(double x) { return x * sigmoid(x); }

// Eight partial sums, so that the compiler may use vectors; the order depends on n alone.
template <class X, class Y>
double dot(const X* x, const Y* y, std::int64_t n) {
  constexpr std::int64_t kLanes = 8;
  double sums[kLanes] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (std::int64_t j = 0; j < kLanes; ++j) sums[j] += static_cast<double>(x[i + j]) * static_cast<double>(y[i + j]);
  for (; i < n; ++i) sums[i % kLanes] += static_cast<double>(x[i]) * static_cast<double>(y[i]);
  double total = 0;
  for (const double sum : sums) total += sum;
  return total;
}

// The key head that value head `head` reads.
inline std::int64_t key_head(const GdnScan& scan, std::int64_t head) {
  return scan.order == HeadOrder::kTiled ? head % scan.key_heads : head / (scan.value_heads / scan.key_heads);
}

}  // namespace crossover::reference
