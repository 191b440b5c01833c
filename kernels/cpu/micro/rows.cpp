// Row operations: one pass over memory each; f32 sums in sixteen lanes.
#include "kernels/cpu/micro.h"
#include "kernels/cpu/micro/simd.h"

namespace crossover::cpu::CROSSOVER_ISA {

void rotate(Rotation rotation, bool back, const float* x, std::int64_t dim, float* out);  // rotate.cpp

namespace {

constexpr std::int64_t kLanes = 16;

// Calls body(i, n) for whole vectors (n = 16) and once for the tail (n < 16).
template <class Body>
CROSSOVER_INLINE void for_lanes(std::int64_t dim, Body body) {
  std::int64_t i = 0;
  for (; i + kLanes <= dim; i += kLanes) body(i, kLanes);
  if (i < dim) body(i, dim - i);
}

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

void norm_rope(float* x, const float* weight, float eps, std::int64_t dim, const float* angles, std::int64_t rotary_dim) {
  const F16 scale = broadcast(1.0f / __builtin_sqrtf(sum_of_squares(x, dim) / static_cast<float>(dim) + eps));
  const std::int64_t half = rotary_dim / 2;
  const auto normed = [&](std::int64_t i, std::int64_t n) { return load_n(x + i, n) * scale * load_n(weight + i, n); };
  for_lanes(half, [&](std::int64_t i, std::int64_t n) {
    const F16 first = normed(i, n), second = normed(i + half, n), cosine = load_n(angles + i, n), sine = load_n(angles + half + i, n);
    store_n(x + i, first * cosine - second * sine, n);
    store_n(x + i + half, second * cosine + first * sine, n);
  });
  for_lanes(dim - 2 * half, [&](std::int64_t i, std::int64_t n) { store_n(x + 2 * half + i, normed(2 * half + i, n), n); });
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

// Lane n of taps[j] is weight[4 n + j].
CROSSOVER_INLINE void load_taps(const float* weight, F16 (&taps)[4]) {
#if defined(__AVX512F__)
  // Every 128-bit part of rows[i] holds the taps of one channel: transposed four by four, then the channels are put in order.
  __m512 rows[4], low[2], high[2];
  for (int i = 0; i < 4; ++i) rows[i] = _mm512_loadu_ps(weight + 16 * i);
  for (int i = 0; i < 2; ++i)
    low[i] = _mm512_unpacklo_ps(rows[2 * i], rows[2 * i + 1]), high[i] = _mm512_unpackhi_ps(rows[2 * i], rows[2 * i + 1]);
  const auto put = [&](int tap, __m512 x, __m512 y, bool second) __attribute__((always_inline)) {
    const __m512d p = _mm512_castps_pd(x), q = _mm512_castps_pd(y);
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    taps[tap].v = _mm512_permutexvar_ps(order, _mm512_castpd_ps(second ? _mm512_unpackhi_pd(p, q) : _mm512_unpacklo_pd(p, q)));
  };
  put(0, low[0], low[1], false), put(1, low[0], low[1], true), put(2, high[0], high[1], false), put(3, high[0], high[1], true);
#else
  float lanes[4][kLanes];
  for (std::int64_t c = 0; c < kLanes; ++c)
    for (int j = 0; j < 4; ++j) lanes[j][c] = weight[4 * c + j];
  for (int j = 0; j < 4; ++j) taps[j] = load(lanes[j]);
#endif
}

struct Convolution {
  const float* before;  // the row three tokens back from x
  std::int64_t before_stride;
  const float* x;
  std::int64_t x_stride;
  const float* weight;
  std::int64_t tokens;
  float* out;
  std::int64_t out_stride;
};

// `vectors` times sixteen channels from `first` on; their taps and last three inputs stay in registers. Rows lie pages apart, where
// no hardware prefetch follows.
template <int vectors>
CROSSOVER_INLINE void convolve_channels(const Convolution& c, std::int64_t first) {
  constexpr std::int64_t kAhead = 8;
  F16 taps[vectors][4], past[vectors][3];
  for (int v = 0; v < vectors; ++v) {
    load_taps(c.weight + 4 * (first + kLanes * v), taps[v]);
    for (int j = 0; j < 3; ++j) past[v][j] = load(c.before + j * c.before_stride + first + kLanes * v);
  }
  for (std::int64_t t = 0; t < c.tokens; ++t) {
    const float* x = c.x + t * c.x_stride + first;
    if (t + kAhead < c.tokens) __builtin_prefetch(x + kAhead * c.x_stride), __builtin_prefetch(x + kAhead * c.x_stride + kLanes * (vectors - 1));
    for (int v = 0; v < vectors; ++v) {
      const F16 now = load(x + kLanes * v);
      F16 y = taps[v][0] * past[v][0];
      y = fma(taps[v][1], past[v][1], y);
      y = fma(taps[v][2], past[v][2], y);
      y = fma(taps[v][3], now, y);
      store(c.out + t * c.out_stride + first + kLanes * v, silu(y));
      past[v][0] = past[v][1], past[v][1] = past[v][2], past[v][2] = now;
    }
  }
}

// Fewer than sixteen channels, through padded copies.
void convolve_tail(const Convolution& c, std::int64_t first, std::int64_t n) {
  float before[3][kLanes] = {}, weight[4 * kLanes] = {};
  for (std::int64_t i = 0; i < 4 * n; ++i) weight[i] = c.weight[4 * first + i];
  for (int j = 0; j < 3; ++j)
    for (std::int64_t i = 0; i < n; ++i) before[j][i] = c.before[j * c.before_stride + first + i];
  for (std::int64_t t = 0; t < c.tokens; ++t) {
    float x[kLanes], out[kLanes];
    store(x, load_n(c.x + t * c.x_stride + first, n));
    convolve_channels<1>({before[0], kLanes, x, kLanes, weight, 1, out, kLanes}, 0);
    store_n(c.out + t * c.out_stride + first, load(out), n);
    for (std::int64_t i = 0; i < n; ++i) before[0][i] = before[1][i], before[1][i] = before[2][i], before[2][i] = x[i];
  }
}

void conv4_silu(const float* before, std::int64_t before_stride, const float* x, std::int64_t x_stride, const float* weight,
                std::int64_t channels, std::int64_t tokens, float* out, std::int64_t out_stride) {
  const Convolution c{before, before_stride, x, x_stride, weight, tokens, out, out_stride};
  std::int64_t first = 0;
  for (; first + 2 * kLanes <= channels; first += 2 * kLanes) convolve_channels<2>(c, first);
  for (; first + kLanes <= channels; first += kLanes) convolve_channels<1>(c, first);
  if (first < channels) convolve_tail(c, first, channels - first);
}

}  // namespace

extern const RowsMicro row_ops;
const RowsMicro row_ops = {rms_norm, norm_rope, rotate, l2_norm, gated_rms_norm, add, axpy, swiglu, sigmoid_gate, conv4_silu};

}  // namespace crossover::cpu::CROSSOVER_ISA
