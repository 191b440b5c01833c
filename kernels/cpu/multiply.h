// Matrix products of the cpu backend: several at once share one parallel region, so that the many small products of experts keep
// all threads busy.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/ops.h"

namespace crossover::cpu {

// Activation rows that one or more products read; they are converted once.
struct Operand {
  ConstRows x;
  std::int64_t rows = 0;
  const std::int32_t* index = nullptr;  // row i is x.row(index[i]); null: x.row(i)

  const float* row(std::int64_t i) const { return x.row(index ? index[i] : i); }
};

struct Product {
  std::size_t operand = 0;
  Tensor weight;  // [N, x.dim]
  Rows out;       // [operand rows, N]
};

// All weights have the type and the number of columns (above 0) of the first.
void multiply(Context&, std::span<const Operand>, std::span<const Product>);

}  // namespace crossover::cpu
