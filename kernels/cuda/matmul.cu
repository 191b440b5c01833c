// Which kernels the projections of one x take: few tokens, one launch per type; more, one per projection on activations rounded to bf16 once, by
// cuBLASLt where a context has it and the weights are bf16; f32 weights (and rows of the plain types that are not whole units) a kernel in f32 of
// their own.
#include <array>
#include <string>

#include "kernels/cuda/bf16_rows.h"
#include "kernels/cuda/cublaslt.h"
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

bool by_library(const Context& ctx, const Tensor& weight, std::int64_t tokens) {
  return ctx.cublaslt && tokens > kMatvecTokens && in_units(weight) && ctx.cublaslt->wants(weight, tokens);
}

// A gate and an up are multiplied by the same blocks where that kernel knows pairs. The library does not: what it gains on both is more than the
// 20 bytes of memory traffic that each of their values then costs.
bool together(const Context& ctx, const Projection& p, std::int64_t tokens) {
  if (!p.up.data) return true;
  const bool alike = p.up.dtype == p.weight.dtype && in_units(p.weight) && in_units(p.up);
  return alike && (tokens <= kMatvecTokens || tuned(p.weight.dtype)) && !by_library(ctx, p.weight, tokens);
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

// x rounded to bf16, in the order of each reader, once.
class HalfRows {
 public:
  HalfRows(Context& ctx, ConstRows x) : ctx_(ctx), x_(x) {}
  const Bf16* quads() { return made(quads_, "matmuls.x", Bf16Order::kQuad); }
  const Bf16* plain() { return made(plain_, "matmuls.x_plain", Bf16Order::kPlain); }

 private:
  const Bf16* made(Bf16*& rows, const char* name, Bf16Order order) {
    if (rows) return rows;
    rows = reinterpret_cast<Bf16*>(ctx_.workspace.bytes(name, bf16_bytes(x_.rows, x_.dim)));
    to_bf16_rows(ctx_, x_, rows, order);
    return rows;
  }

  Context& ctx_;
  const ConstRows x_;
  Bf16 *quads_ = nullptr, *plain_ = nullptr;
};

// False: the library would not, and ours is to do it.
bool library_gemm(Context& ctx, HalfRows& rows, const Projection& p) {
  const auto* const x = reinterpret_cast<const std::uint16_t*>(rows.plain());
  if (ctx.cublaslt->multiply(ctx, x, bf16_stride(p.weight.cols()), p.weight, p.out)) return true;
  ctx.counters.path("gemm.refused", ctx.cublaslt->refusal());
  return false;
}

void many_tokens(Context& ctx, ConstRows x, const Products& products) {
  HalfRows rows(ctx, x);
  for (std::size_t i = 0; i < products.count; ++i) {
    const Projection& p = products.all[i];
    if (!in_units(p.weight)) continue;
    if (by_library(ctx, p.weight, x.rows) && library_gemm(ctx, rows, p)) {
      note(ctx, p.weight.dtype, "gemm-cublaslt");
      continue;
    }
    note(ctx, p.weight.dtype, by_warpgroups(*ctx.device, x.rows) ? "gemm-wgmma-bf16" : "gemm-mma-bf16");
    gemm(ctx, rows.quads(), p);
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
  for (const Projection& p : projections) width += together(ctx, p, x.rows) ? 0 : p.up.rows();
  float* memory = width ? ctx.workspace.floats("matmuls.up", static_cast<std::size_t>(x.rows * width)) : nullptr;
  Products products;
  std::array<Rows, kMaxProjections> ups;
  for (std::size_t i = 0; i < projections.size(); ++i) {
    const Projection& p = projections[i];
    if (together(ctx, p, x.rows)) {
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
