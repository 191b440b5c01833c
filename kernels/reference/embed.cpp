#include <algorithm>

#include "kernels/formats/formats.h"
#include "kernels/reference/reference.h"

namespace crossover::reference {

void embed(Context&, const Tensor& table, std::int64_t first_row, std::span<const std::int32_t> ids, Rows out) {
  const DequantizeFn dequantize = dequantize_fn(table.dtype);
  for (std::int64_t t = 0; t < out.rows; ++t) {
    const std::int64_t row = ids[static_cast<std::size_t>(t)] - first_row;
    if (row < 0 || row >= table.rows()) std::fill_n(out.row(t), out.dim, 0.0f);
    else dequantize(table.row(row), out.row(t), table.cols());
  }
}

}  // namespace crossover::reference
