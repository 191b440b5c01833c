#include <vector>

#include "kernels/formats/formats.h"
#include "kernels/reference/loops.h"
#include "kernels/reference/reference.h"

namespace crossover::reference {

void matmul(Context&, ConstRows x, const Tensor& weight, Rows out) {
  const DequantizeFn dequantize = dequantize_fn(weight.dtype);
  std::vector<float> row(static_cast<std::size_t>(weight.cols()));
  for (std::int64_t n = 0; n < weight.rows(); ++n) {
    dequantize(weight.row(n), row.data(), weight.cols());
    for (std::int64_t t = 0; t < x.rows; ++t) out.row(t)[n] = static_cast<float>(dot(x.row(t), row.data(), x.dim));
  }
}

}  // namespace crossover::reference
