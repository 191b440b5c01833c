// Which kernels the projections of one x take: few tokens, one launch per type; more, one per projection on activations rounded to bf16 once;
// f32 weights (and rows of the plain types that are not whole units) a kernel in f32 of their own.
#include <array>
#include <string>

#include "kernels/cuda/bf16_rows.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/linear.h"

namespace crossover::cuda {
namespace {

// At most two products per projection, those of one type in one call of their kernel.
struct Products {
  std::array<Projection, 2 * kMaxProjections> all;
  std::size_t count = 0;

  void add(const Projection& p) {
    if (p.out.dim > 0) all[count++] = p;
  }
};

// A gate and an up are multiplied by the same blocks where that kernel knows pairs.
bool together(const Projection& p, std::int64_t tokens) {
  if (!p.up.data) return true;
  const bool alike = p.up.dtype == p.weight.dtype && in_units(p.weight) && in_units(p.up);
  return alike && (tokens <= kMatvecTokens || tuned(p.weight.dtype));
}

void note(Context& ctx, DType type, const char* taken) { ctx.counters.path(std::string("matmul.") + name(type), taken); }

// Calls run(projections) for those of every type that `takes` says, at most kMaxProjections at a time.
template <class Takes, class Run>
void by_type(const Products& products, const Takes& takes, const Run& run) {
  for (int type = 0; type < kDTypeCount; ++type) {
    std::array<Projection, kMaxProjections> of_type;
    std::size_t count = 0;
    for (std::size_t i = 0; i <= products.count; ++i) {
      if (count > 0 && (i == products.count || count == of_type.size())) run(std::span<const Projection>(of_type.data(), count)), count = 0;
      if (i < products.count && static_cast<int>(products.all[i].weight.dtype) == type && takes(products.all[i])) of_type[count++] = products.all[i];
    }
  }
}

void few_tokens(Context& ctx, ConstRows x, const Products& products) {
  by_type(products, [](const Projection& p) { return in_units(p.weight); }, [&](std::span<const Projection> projections) {
    note(ctx, projections[0].weight.dtype, "matvec-mma-bf16");
    matvec(ctx, x, projections);
  });
}

void many_tokens(Context& ctx, ConstRows x, const Products& products) {
  Bf16* rows = nullptr;
  for (std::size_t i = 0; i < products.count; ++i) {
    const Projection& p = products.all[i];
    if (!in_units(p.weight)) continue;
    if (!rows) {
      rows = reinterpret_cast<Bf16*>(ctx.workspace.bytes("matmuls.x", bf16_bytes(x.rows, x.dim)));
      to_bf16_rows(ctx, x, rows);
    }
    note(ctx, p.weight.dtype, "gemm-mma-bf16");
    gemm(ctx, rows, p);
  }
}

}  // namespace

void matmul(Context& ctx, ConstRows x, const Tensor& weight, Rows out) {
  const Projection projection{weight, out};
  matmuls(ctx, x, {&projection, 1});
}

void matmuls(Context& ctx, ConstRows x, std::span<const Projection> projections) {
  if (x.rows == 0) return;
  std::int64_t width = 0;  // of the ups that need memory of their own
  for (const Projection& p : projections) width += together(p, x.rows) ? 0 : p.up.rows();
  float* memory = width ? ctx.workspace.floats("matmuls.up", static_cast<std::size_t>(x.rows * width)) : nullptr;
  Products products;
  std::array<Rows, kMaxProjections> ups;
  for (std::size_t i = 0; i < projections.size(); ++i) {
    const Projection& p = projections[i];
    if (together(p, x.rows)) {
      products.add(p);
      continue;
    }
    ups[i] = Rows(memory, x.rows, p.up.rows());
    memory += x.rows * p.up.rows();
    products.add({p.weight, p.out});
    products.add({p.up, ups[i]});
  }
  if (x.dim > 0) x.rows <= kMatvecTokens ? few_tokens(ctx, x, products) : many_tokens(ctx, x, products);
  by_type(products, [&](const Projection& p) { return x.dim == 0 || !in_units(p.weight); }, [&](std::span<const Projection> of_type) {
    note(ctx, of_type[0].weight.dtype, "fma-f32");
    f32_matmul(ctx, x, of_type);
  });
  for (std::size_t i = 0; i < projections.size(); ++i)
    if (ups[i].data && projections[i].out.dim > 0) swiglu(ctx, projections[i].out, ups[i], projections[i].out);
}

}  // namespace crossover::cuda
