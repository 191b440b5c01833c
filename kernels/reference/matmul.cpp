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

void matmuls(Context& context, ConstRows x, std::span<const Projection> projections) {
  for (const Projection& p : projections) {
    matmul(context, x, p.weight, p.out);
    if (!p.up.data) continue;
    std::vector<float> up(static_cast<std::size_t>(x.rows * p.up.rows()));
    const Rows ups(up.data(), x.rows, p.up.rows());
    matmul(context, x, p.up, ups);
    swiglu(context, p.out, ups, p.out);
  }
}

}  // namespace crossover::reference
