// Operations that touch every value once: rows or blocks of channels in parallel.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/micro.h"

namespace crossover::cpu {
namespace {

// Tasks of about 16k values: some microseconds, so handing one out costs little beside it.
template <class Body>
void for_rows(Context& context, std::int64_t rows, std::int64_t dim, Body body) {
  const std::int64_t grain = std::max<std::int64_t>(1, 16384 / std::max<std::int64_t>(1, dim));
  context.pool.parallel_for(rows, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) body(r);
  });
}

float sigmoid(float x) { return 1.0f / (1.0f + std::exp(-x)); }
float softplus(float x) { return x > 20.0f ? x : std::log1p(std::exp(x)); }

}  // namespace

void rms_norm(Context& context, ConstRows x, const float* weight, float eps, Rows out) {
  for_rows(context, x.rows, x.dim, [&](std::int64_t r) { context.micro->rows->rms_norm(x.row(r), weight, eps, x.dim, out.row(r)); });
}

void add_rms_norm(Context& context, Rows x, ConstRows y, const float* weight, float eps, Rows out) {
  for_rows(context, x.rows, x.dim, [&](std::int64_t r) {
    context.micro->rows->add(x.row(r), y.row(r), x.dim);
    context.micro->rows->rms_norm(x.row(r), weight, eps, x.dim, out.row(r));
  });
}

void l2_norm(Context& context, ConstRows x, float eps, float scale, Rows out) {
  for_rows(context, x.rows, x.dim, [&](std::int64_t r) { context.micro->rows->l2_norm(x.row(r), eps, scale, x.dim, out.row(r)); });
}

void gated_rms_norm(Context& context, ConstRows x, const float* weight, ConstRows z, float eps, Rows out) {
  for_rows(context, x.rows, x.dim,
           [&](std::int64_t r) { context.micro->rows->gated_rms_norm(x.row(r), weight, z.row(r), eps, x.dim, out.row(r)); });
}

void add(Context& context, Rows x, ConstRows y) {
  for_rows(context, x.rows, x.dim, [&](std::int64_t r) { context.micro->rows->add(x.row(r), y.row(r), x.dim); });
}

void add_gated(Context& context, Rows x, ConstRows y, ConstRows gate) {
  for_rows(context, x.rows, x.dim, [&](std::int64_t r) { context.micro->rows->axpy(x.row(r), sigmoid(*gate.row(r)), y.row(r), x.dim); });
}

void swiglu(Context& context, ConstRows gate, ConstRows up, Rows out) {
  for_rows(context, out.rows, out.dim, [&](std::int64_t r) { context.micro->rows->swiglu(gate.row(r), up.row(r), out.dim, out.row(r)); });
}

void sigmoid_gate(Context& context, Rows x, ConstRows gate) {
  for_rows(context, x.rows, x.dim, [&](std::int64_t r) { context.micro->rows->sigmoid_gate(x.row(r), gate.row(r), x.dim); });
}

void conv1d_silu(Context& context, ConstRows x, const Tensor& weight, float* state, Rows out) {
  constexpr std::int64_t kTokens = 32, kChannels = 2048;  // of a task; a task after the first finds three rows of x before its own
  const std::int64_t token_blocks = (x.rows + kTokens - 1) / kTokens, channel_blocks = (x.dim + kChannels - 1) / kChannels;
  context.pool.parallel_for(token_blocks * channel_blocks, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t task = begin; task < end; ++task) {
      const std::int64_t t = task / channel_blocks * kTokens, c = task % channel_blocks * kChannels;
      const float* before = t == 0 ? state + c : x.row(t - 3) + c;
      context.micro->rows->conv4_silu(before, t == 0 ? x.dim : x.stride, x.row(t) + c, x.stride, weight.f32() + 4 * c,
                                      std::min(kChannels, x.dim - c), std::min(kTokens, x.rows - t), out.row(t) + c, out.stride);
    }
  });
  const std::size_t row_size = static_cast<std::size_t>(x.dim) * sizeof(float);
  for (std::int64_t i = 0; i < 3; ++i) {  // the last three rows of (state, x)
    const std::int64_t t = x.rows - 3 + i;
    std::memcpy(state + i * x.dim, t < 0 ? state + (t + 3) * x.dim : x.row(t), row_size);
  }
}

void gdn_gates(Context& context, ConstRows a, ConstRows b, const float* ssm_a, const float* dt_bias, Rows g, Rows beta) {
  for_rows(context, a.rows, a.dim * 16, [&](std::int64_t t) {  // a value costs two exponentials and a logarithm
    for (std::int64_t h = 0; h < a.dim; ++h) {
      g.row(t)[h] = ssm_a[h] * softplus(a.row(t)[h] + dt_bias[h]);
      beta.row(t)[h] = sigmoid(b.row(t)[h]);
    }
  });
}

void rope_angles(Context& context, std::int64_t first_position, double theta, Rows out) {
  const std::int64_t half = out.dim / 2;
  // The angles in double: a position of 100,000 times a frequency near 1 has no correct digit of its phase left in f32.
  double* frequency = reinterpret_cast<double*>(context.workspace.bytes("rope.frequency", static_cast<std::size_t>(half) * sizeof(double)));
  for (std::int64_t i = 0; i < half; ++i) frequency[i] = std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(out.dim));
  for_rows(context, out.rows, out.dim * 16, [&](std::int64_t t) {
    for (std::int64_t i = 0; i < half; ++i) {
      const double angle = static_cast<double>(first_position + t) * frequency[i];
      out.row(t)[i] = static_cast<float>(std::cos(angle)), out.row(t)[i + half] = static_cast<float>(std::sin(angle));
    }
  });
}

void norm_rope(Context& context, Rows x, const float* weight, float eps, std::int64_t heads, ConstRows angles) {
  for_rows(context, x.rows, x.dim,
           [&](std::int64_t r) { context.micro->rows->norm_rope(x.row(r), weight, eps, x.dim, angles.row(r / heads), angles.dim); });
}

}  // namespace crossover::cpu
