// Norms of rows. Bound by memory: a row is read once from DRAM and written once. A warp takes a short row (a head), a block a long one (hidden); 16-byte
// accesses where every operand allows them. One row (decode) is latency: of hidden rows up to 8192 values all operands are asked for at once and held, so that
// a norm takes two trips to memory (read, write) and a sum over the block; other rows are read a second time, from the cache.
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/view.h"

namespace crossover::cuda {
namespace {

constexpr int kThreads = 256;
constexpr std::int64_t kWarpRow = 512;  // rows up to here are a warp's

enum class Norm : std::uint8_t { kRms, kAddRms, kL2, kGated };

struct NormOf {
  View<const float> x, y;  // y: what is added (kAddRms) or gates (kGated)
  View<float> sum, out;    // sum: where x + y goes (kAddRms)
  const float* weight;     // [dim]; not of kL2
  float eps, scale;
};

template <Norm kNorm, int N>
__device__ float squares_of(const NormOf& op, std::int64_t row, int first, int step) {
  float sum = 0;
  for (std::int64_t i = static_cast<std::int64_t>(first) * N; i < op.x.dim; i += static_cast<std::int64_t>(step) * N) {
    Values<N> x = load<N>(op.x.row(row) + i);
    if constexpr (kNorm == Norm::kAddRms) {
      const Values<N> y = load<N>(op.y.row(row) + i);
#pragma unroll
      for (int j = 0; j < N; ++j) x.v[j] += y.v[j];
      store<N>(op.sum.row(row) + i, x);
    }
#pragma unroll
    for (int j = 0; j < N; ++j) sum += x.v[j] * x.v[j];
  }
  return sum;
}

template <Norm kNorm, int N>
__device__ void write_row(const NormOf& op, std::int64_t row, float squares, int first, int step) {
  const float factor = kNorm == Norm::kL2 ? op.scale / sqrtf(squares + op.eps) : 1.0f / sqrtf(squares / static_cast<float>(op.x.dim) + op.eps);
  for (std::int64_t i = static_cast<std::int64_t>(first) * N; i < op.x.dim; i += static_cast<std::int64_t>(step) * N) {
    Values<N> x = load<N>((kNorm == Norm::kAddRms ? op.sum.row(row) : op.x.row(row)) + i);
    Values<N> weight{}, gate{};
    if constexpr (kNorm != Norm::kL2) weight = load<N>(op.weight + i);
    if constexpr (kNorm == Norm::kGated) gate = load<N>(op.y.row(row) + i);
#pragma unroll
    for (int j = 0; j < N; ++j) {
      x.v[j] *= factor;
      if constexpr (kNorm != Norm::kL2) x.v[j] *= weight.v[j];
      if constexpr (kNorm == Norm::kGated) x.v[j] *= silu(gate.v[j]);
    }
    store<N>(op.out.row(row) + i, x);
  }
}

template <Norm kNorm, int N>
__global__ void __launch_bounds__(kThreads) norm_by_warps(NormOf op) {
  wait_for_launches_before();
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * (kThreads / kWarp) + threadIdx.x / kWarp;
  if (row >= op.x.rows) return;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const float squares = warp_sum(squares_of<kNorm, N>(op, row, lane, kWarp));
  write_row<kNorm, N>(op, row, squares, lane, kWarp);
}

template <Norm kNorm, int N>
__global__ void __launch_bounds__(kThreads) norm_by_blocks(NormOf op) {
  wait_for_launches_before();
  __shared__ float partial[kThreads / kWarp];
  const int thread = static_cast<int>(threadIdx.x);
  const float squares = block_sum(squares_of<kNorm, N>(op, blockIdx.x, thread, kThreads), partial);
  write_row<kNorm, N>(op, blockIdx.x, squares, thread, kThreads);
}

template <Norm kNorm, int kPieces>
__global__ void __launch_bounds__(kThreads) norm_of_held_rows(NormOf op) {
  wait_for_launches_before();
  __shared__ float partial[kThreads / kWarp];
  const std::int64_t row = blockIdx.x;
  const auto each = [&](const auto& body) {
#pragma unroll
    for (int i = 0; i < kPieces; ++i)
      if (const int at = (i * kThreads + static_cast<int>(threadIdx.x)) * 4; at < op.x.dim) body(i, at);
  };
  Values<4> x[kPieces], y[kPieces], weight[kPieces];
  each([&](int i, int at) {
    x[i] = load<4>(op.x.row(row) + at), weight[i] = load<4>(op.weight + at);
    if constexpr (kNorm == Norm::kAddRms) y[i] = load<4>(op.y.row(row) + at);
  });
  float squares = 0;
  each([&](int i, int at) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      if constexpr (kNorm == Norm::kAddRms) x[i].v[j] += y[i].v[j];
      squares += x[i].v[j] * x[i].v[j];
    }
    if constexpr (kNorm == Norm::kAddRms) store<4>(op.sum.row(row) + at, x[i]);
  });
  const float factor = 1.0f / sqrtf(block_sum(squares, partial) / static_cast<float>(op.x.dim) + op.eps);
  each([&](int i, int at) {
#pragma unroll
    for (int j = 0; j < 4; ++j) x[i].v[j] *= factor, x[i].v[j] *= weight[i].v[j];
    store<4>(op.out.row(row) + at, x[i]);
  });
}

// Of rows of four in whole, above kWarpRow; false: too long.
template <Norm kNorm>
bool norm_held(Context& ctx, const char* name, const NormOf& op) {
  const Shape shape{dim3(static_cast<unsigned>(op.x.rows)), dim3(kThreads)};
  constexpr std::int64_t kPieceValues = 4 * kThreads;
  if (op.x.dim <= 2 * kPieceValues) launch(ctx, name, norm_of_held_rows<kNorm, 2>, shape, op);
  else if (op.x.dim <= 5 * kPieceValues) launch(ctx, name, norm_of_held_rows<kNorm, 5>, shape, op);
  else if (op.x.dim <= 8 * kPieceValues) launch(ctx, name, norm_of_held_rows<kNorm, 8>, shape, op);
  else return false;
  return true;
}

template <Norm kNorm>
void norm(Context& ctx, const char* name, const NormOf& op, bool fours) {
  const bool warps = op.x.dim <= kWarpRow;
  if constexpr (kNorm == Norm::kRms || kNorm == Norm::kAddRms)
    if (!warps && fours && norm_held<kNorm>(ctx, name, op)) return;
  const Shape shape{dim3(warps ? blocks_for(op.x.rows, kThreads / kWarp) : static_cast<unsigned>(op.x.rows)), dim3(kThreads)};
  if (warps) fours ? launch(ctx, name, norm_by_warps<kNorm, 4>, shape, op) : launch(ctx, name, norm_by_warps<kNorm, 1>, shape, op);
  else fours ? launch(ctx, name, norm_by_blocks<kNorm, 4>, shape, op) : launch(ctx, name, norm_by_blocks<kNorm, 1>, shape, op);
}

}  // namespace

void rms_norm(Context& ctx, ConstRows x, const float* weight, float eps, Rows out) {
  norm<Norm::kRms>(ctx, "rms_norm", {view(x), view(x), view(out), view(out), weight, eps, 1}, in_fours(x) && in_fours(out) && aligned_16(weight));
}

void add_rms_norm(Context& ctx, Rows x, ConstRows y, const float* weight, float eps, Rows out) {
  norm<Norm::kAddRms>(ctx, "add_rms_norm", {view(ConstRows(x)), view(y), view(x), view(out), weight, eps, 1},
                      in_fours(x) && in_fours(y) && in_fours(out) && aligned_16(weight));
}

void l2_norm(Context& ctx, ConstRows x, float eps, float scale, Rows out) {
  norm<Norm::kL2>(ctx, "l2_norm", {view(x), view(x), view(out), view(out), nullptr, eps, scale}, in_fours(x) && in_fours(out));
}

void gated_rms_norm(Context& ctx, ConstRows x, const float* weight, ConstRows z, float eps, Rows out) {
  norm<Norm::kGated>(ctx, "gated_rms_norm", {view(x), view(z), view(out), view(out), weight, eps, 1},
                     in_fours(x) && in_fours(z) && in_fours(out) && aligned_16(weight));
}

}  // namespace crossover::cuda
