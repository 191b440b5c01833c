#include <algorithm>
#include <array>

#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/multiply.h"

namespace crossover::cpu {
namespace {

void clear(Rows out) {
  for (std::int64_t t = 0; t < out.rows; ++t) std::fill_n(out.row(t), out.dim, 0.0f);
}

// A gate and an up of one type and layout are multiplied by the same task.
bool in_one_task(const Projection& p) { return !p.up.data || (p.up.dtype == p.weight.dtype && p.up.layout == p.weight.layout); }

}  // namespace

void matmul(Context& context, ConstRows x, const Tensor& weight, Rows out) {
  const Projection projection{weight, out};
  matmuls(context, x, {&projection, 1});
}

void matmuls(Context& context, ConstRows x, std::span<const Projection> projections) {
  if (x.dim == 0) {
    for (const Projection& p : projections) clear(p.out);
    return;
  }
  std::int64_t width = 0;  // of the ups that need memory of their own
  for (const Projection& p : projections) width += in_one_task(p) ? 0 : p.up.rows();
  float* memory = width ? context.workspace.floats("matmuls.up", static_cast<std::size_t>(x.rows * width)) : nullptr;
  std::array<Product, 2 * kMaxProjections> products;
  std::array<Rows, kMaxProjections> ups;
  std::size_t count = 0;
  for (std::size_t i = 0; i < projections.size(); ++i) {
    const Projection& p = projections[i];
    products[count++] = {0, p.weight, p.out, in_one_task(p) ? p.up : Tensor{}};
    if (in_one_task(p)) continue;
    ups[i] = Rows(memory, x.rows, p.up.rows());
    memory += x.rows * p.up.rows();
    products[count++] = {0, p.up, ups[i]};
  }
  const Operand operand{x, x.rows};
  multiply(context, {&operand, 1}, {products.data(), count});
  for (std::size_t i = 0; i < projections.size(); ++i)
    if (!in_one_task(projections[i])) swiglu(context, projections[i].out, ups[i], projections[i].out);
}

}  // namespace crossover::cpu
