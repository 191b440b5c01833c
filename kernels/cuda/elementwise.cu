// Operations on single values, and the angles of RoPE. Bound by memory; a grid of blocks over rows x groups of values.
#include <algorithm>

#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/view.h"

namespace crossover::cuda {
namespace {

constexpr int kThreads = 256;

// Calls body(row, column) for every value of [rows, dim]. Blocks share a row and take rows in turn: a division of 64 bits for each value would take longer
// than its bytes.
template <class Body>
__global__ void __launch_bounds__(kThreads) for_values(std::int64_t rows, std::int64_t dim, Body body) {
  wait_for_launches_before();
  const std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x, step = static_cast<std::int64_t>(gridDim.x) * kThreads;
  for (std::int64_t row = blockIdx.y; row < rows; row += gridDim.y)
    for (std::int64_t i = first; i < dim; i += step) body(row, i);
}

template <class Body>
void each(Context& ctx, const char* name, std::int64_t rows, std::int64_t dim, const Body& body) {
  const std::int64_t most = static_cast<std::int64_t>(ctx.device->facts().multiprocessors) * 16;
  const std::int64_t of_a_row = std::min<std::int64_t>((dim + kThreads - 1) / kThreads, most), together = std::min(rows, std::max<std::int64_t>(1, most / of_a_row));
  launch(ctx, name, for_values<Body>, {dim3(static_cast<unsigned>(of_a_row), static_cast<unsigned>(together)), dim3(kThreads)}, rows, dim, body);
}

struct Add {
  View<float> x;
  View<const float> y;
  __device__ void operator()(std::int64_t r, std::int64_t i) const { x.row(r)[i] += y.row(r)[i]; }
};
struct AddGated {
  View<float> x;
  View<const float> y, gate;
  __device__ void operator()(std::int64_t r, std::int64_t i) const { x.row(r)[i] += sigmoid(gate.row(r)[0]) * y.row(r)[i]; }
};
struct Swiglu {
  View<const float> gate, up;
  View<float> out;
  __device__ void operator()(std::int64_t r, std::int64_t i) const { out.row(r)[i] = silu(gate.row(r)[i]) * up.row(r)[i]; }
};
struct SigmoidGate {
  View<float> x;
  View<const float> gate;
  __device__ void operator()(std::int64_t r, std::int64_t i) const { x.row(r)[i] *= sigmoid(gate.row(r)[i]); }
};
// Angles in double: positions reach 2^18, and an f32 angle of that size is off by 0.008.
struct RopeAngles {
  View<float> out;
  std::int64_t first;
  double theta;
  __device__ void operator()(std::int64_t t, std::int64_t i) const {
    const double angle = static_cast<double>(first + t) * pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(out.dim));
    out.row(t)[i] = static_cast<float>(cos(angle));
    out.row(t)[i + out.dim / 2] = static_cast<float>(sin(angle));
  }
};

}  // namespace

void add(Context& ctx, Rows x, ConstRows y) { each(ctx, "add", x.rows, x.dim, Add{view(x), view(y)}); }
void add_gated(Context& ctx, Rows x, ConstRows y, ConstRows gate) { each(ctx, "add_gated", x.rows, x.dim, AddGated{view(x), view(y), view(gate)}); }
void swiglu(Context& ctx, ConstRows gate, ConstRows up, Rows out) { each(ctx, "swiglu", out.rows, out.dim, Swiglu{view(gate), view(up), view(out)}); }
void sigmoid_gate(Context& ctx, Rows x, ConstRows gate) { each(ctx, "sigmoid_gate", x.rows, x.dim, SigmoidGate{view(x), view(gate)}); }
void rope_angles(Context& ctx, std::int64_t first_position, double theta, Rows out) {
  each(ctx, "rope_angles", out.rows, out.dim / 2, RopeAngles{view(out), first_position, theta});
}

}  // namespace crossover::cuda
