#include <algorithm>

#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/multiply.h"

namespace crossover::cpu {

void matmul(Context& context, ConstRows x, const Tensor& weight, Rows out) {
  if (x.dim == 0) {
    for (std::int64_t t = 0; t < out.rows; ++t) std::fill_n(out.row(t), out.dim, 0.0f);
    return;
  }
  const Operand operand{x, x.rows};
  const Product product{0, weight, out};
  multiply(context, {&operand, 1}, {&product, 1});
}

}  // namespace crossover::cpu
