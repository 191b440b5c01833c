// Matrix products of the cpu backend: several at once share one parallel region, so that the many small products of experts keep
// all threads busy.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/ops.h"

namespace crossover::cpu {

// Activation rows that one or more products read; they are converted once for each type of weight.
struct Operand {
  ConstRows x;
  std::int64_t rows = 0;
  const std::int32_t* index = nullptr;  // row i is x.row(index[i]); null: x.row(i)

  const float* row(std::int64_t i) const { return x.row(index ? index[i] : i); }
};

struct Product {
  std::size_t operand = 0;
  Tensor weight;  // [N, operand dim], dim above 0
  Rows out;       // [operand rows, N]
  Tensor up = {}; // of weight's shape and type: out = silu(x weight^T) * (x up^T), in the task that made both; no data: x weight^T
};

inline constexpr std::size_t kMaxWeightKinds = 8;  // types times widths of one call; std::logic_error beyond

// Tasks are handed out in the order of the products: put the longest first. Nothing is allocated once the workspace has grown.
void multiply(Context&, std::span<const Operand>, std::span<const Product>);

}  // namespace crossover::cpu
