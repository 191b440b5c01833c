// Row operations: one pass over memory each; f32 sums in sixteen lanes.
#include "kernels/cpu/micro.h"
#include "kernels/cpu/micro/simd.h"

namespace crossover::cpu::CROSSOVER_ISA {
namespace {

constexpr std::int64_t kLanes = 16;

// Calls body(i, n) for whole vectors (n = 16) and once for the tail (n < 16).
template <class Body>
CROSSOVER_INLINE void for_lanes(std::int64_t dim, Body body) {
  std::int64_t i = 0;
  for (; i + kLanes <= dim; i += kLanes) body(i, kLanes);
  if (i < dim) body(i, dim - i);
}

CROSSOVER_INLINE F16 load_n(const float* p, std::int64_t n) {
  if (n == kLanes) return load(p);
  float lanes[kLanes] = {};
  for (std::int64_t i = 0; i < n; ++i) lanes[i] = p[i];
  return load(lanes);
}

CROSSOVER_INLINE void store_n(float* p, F16 x, std::int64_t n) {
  if (n == kLanes) return store(p, x);
  float lanes[kLanes];
  store(lanes, x);
  for (std::int64_t i = 0; i < n; ++i) p[i] = lanes[i];
}

CROSSOVER_INLINE F16 silu(F16 x) { return x * sigmoid(x); }

CROSSOVER_INLINE float sum_of_squares(const float* x, std::int64_t dim) {
  F16 total = zero();
  for_lanes(dim, [&](std::int64_t i, std::int64_t n) {
    const F16 v = load_n(x + i, n);
    total = fma(v, v, total);
  });
  return sum(total);
}

void rms_norm(const float* x, const float* weight, float eps, std::int64_t dim, float* out) {
  const F16 scale = broadcast(1.0f / __builtin_sqrtf(sum_of_squares(x, dim) / static_cast<float>(dim) + eps));
  for_lanes(dim, [&](std::int64_t i, std::int64_t n) { store_n(out + i, load_n(x + i, n) * scale * load_n(weight + i, n), n); });
}

void l2_norm(const float* x, float eps, float scale, std::int64_t dim, float* out) {
  const F16 factor = broadcast(scale / __builtin_sqrtf(sum_of_squares(x, dim) + eps));
  for_lanes(dim, [&](std::int64_t i, std::int64_t n) { store_n(out + i, load_n(x + i, n) * factor, n); });
}

void gated_rms_norm(const float* x, const float* weight, const float* z, float eps, std::int64_t dim, float* out) {
  const F16 scale = broadcast(1.0f / __builtin_sqrtf(sum_of_squares(x, dim) / static_cast<float>(dim) + eps));
  for_lanes(dim, [&](std::int64_t i, std::int64_t n) {
    store_n(out + i, load_n(x + i, n) * scale * load_n(weight + i, n) * silu(load_n(z + i, n)), n);
  });
}

void add(float* x, const float* y, std::int64_t dim) {
  for_lanes(dim, [&](std::int64_t i, std::int64_t n) { store_n(x + i, load_n(x + i, n) + load_n(y + i, n), n); });
}

void axpy(float* x, float a, const float* y, std::int64_t dim) {
  const F16 factor = broadcast(a);
  for_lanes(dim, [&](std::int64_t i, std::int64_t n) { store_n(x + i, fma(factor, load_n(y + i, n), load_n(x + i, n)), n); });
}

void swiglu(const float* gate, const float* up, std::int64_t dim, float* out) {
  for_lanes(dim, [&](std::int64_t i, std::int64_t n) { store_n(out + i, silu(load_n(gate + i, n)) * load_n(up + i, n), n); });
}

void sigmoid_gate(float* x, const float* gate, std::int64_t dim) {
  for_lanes(dim, [&](std::int64_t i, std::int64_t n) { store_n(x + i, load_n(x + i, n) * sigmoid(load_n(gate + i, n)), n); });
}

// The four taps of a channel are adjacent in memory: a block of channels is turned into one row per tap and then serves all tokens.
void conv4_silu(const float* before, std::int64_t before_stride, const float* x, std::int64_t x_stride, const float* weight,
                std::int64_t channels, std::int64_t tokens, float* out, std::int64_t out_stride) {
  constexpr std::int64_t kBlock = 256;  // channels: 4 KB of taps
  for (std::int64_t first = 0; first < channels; first += kBlock) {
    const std::int64_t width = channels - first < kBlock ? channels - first : kBlock;
    alignas(64) float taps[4][kBlock];
    for (std::int64_t c = 0; c < width; ++c)
      for (int j = 0; j < 4; ++j) taps[j][c] = weight[4 * (first + c) + j];
    const auto row = [&](std::int64_t t) { return (t < 0 ? before + (t + 3) * before_stride : x + t * x_stride) + first; };
    for (std::int64_t t = 0; t < tokens; ++t) {
      const float *x3 = row(t - 3), *x2 = row(t - 2), *x1 = row(t - 1), *x0 = row(t);
      for_lanes(width, [&](std::int64_t c, std::int64_t n) {
        F16 y = load_n(taps[0] + c, n) * load_n(x3 + c, n);
        y = fma(load_n(taps[1] + c, n), load_n(x2 + c, n), y);
        y = fma(load_n(taps[2] + c, n), load_n(x1 + c, n), y);
        y = fma(load_n(taps[3] + c, n), load_n(x0 + c, n), y);
        store_n(out + t * out_stride + first + c, silu(y), n);
      });
    }
  }
}

}  // namespace

extern const RowsMicro row_ops;
const RowsMicro row_ops = {rms_norm, l2_norm, gated_rms_norm, add, axpy, swiglu, sigmoid_gate, conv4_silu};

}  // namespace crossover::cpu::CROSSOVER_ISA
