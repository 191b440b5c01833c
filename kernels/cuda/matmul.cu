// Which kernel a projection takes, and the activations that several share.
#include <string>

#include "kernels/cuda/bf16_rows.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/linear.h"

namespace crossover::cuda {
namespace {

// A gate and an up of one type are multiplied by the same blocks.
bool together(const Projection& p) { return !p.up.data || (p.up.dtype == p.weight.dtype && in_units(p.weight) && in_units(p.up)); }

void multiply(Context& ctx, ConstRows x, const Bf16* bf16, const Projection& p) {
  const std::string part = std::string("matmul.") + name(p.weight.dtype);
  if (in_units(p.weight)) {
    ctx.counters.path(part, "mma-bf16");
    gemm(ctx, bf16, p);
  } else {
    ctx.counters.path(part, "fma-f32");
    f32_matmul(ctx, x, p.weight, p.out);
  }
}

}  // namespace

void matmul(Context& ctx, ConstRows x, const Tensor& weight, Rows out) {
  const Projection projection{weight, out};
  matmuls(ctx, x, {&projection, 1});
}

void matmuls(Context& ctx, ConstRows x, std::span<const Projection> projections) {
  if (x.rows == 0) return;
  bool units = false;
  std::int64_t width = 0;  // of the ups that need memory of their own
  for (const Projection& p : projections) {
    units = units || in_units(p.weight) || (p.up.data && in_units(p.up));
    width += together(p) ? 0 : p.up.rows();
  }
  Bf16* const bf16 = units ? reinterpret_cast<Bf16*>(ctx.workspace.bytes("matmuls.x", bf16_bytes(x.rows, x.dim))) : nullptr;
  float* up_rows = width ? ctx.workspace.floats("matmuls.up", static_cast<std::size_t>(x.rows * width)) : nullptr;
  if (units) to_bf16_rows(ctx, x, bf16);
  for (const Projection& p : projections) {
    if (p.out.dim == 0) continue;
    if (together(p)) {
      multiply(ctx, x, bf16, p);
      continue;
    }
    const Rows up(up_rows, x.rows, p.up.rows());
    up_rows += x.rows * p.up.rows();
    multiply(ctx, x, bf16, {p.weight, p.out});
    multiply(ctx, x, bf16, {p.up, up});
    swiglu(ctx, p.out, up, p.out);
  }
}

}  // namespace crossover::cuda
