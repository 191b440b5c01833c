// Streaming softmax in f32: scores of a block, running maximum and sum per row, weighted sum of values; never a T x T matrix.
#include "kernels/cpu/micro.h"
#include "kernels/cpu/micro/lane_sums.h"
#include "kernels/cpu/micro/product.h"

namespace crossover::cpu::CROSSOVER_ISA {
namespace {

constexpr std::int64_t kPanel = kAttentionPanel;
constexpr float kLargest = 3.0e38f;  // an overflowing score is clamped here: inf - inf would be NaN

CROSSOVER_INLINE std::int64_t round_up(std::int64_t n, std::int64_t to) { return (n + to - 1) / to * to; }

void pack_keys(const float* keys, std::int64_t key_stride, std::int64_t count, std::int64_t head_dim, float* panels) {
  for (std::int64_t first = 0; first < count; first += kPanel) {
    float* panel = panels + first * head_dim;
    for (std::int64_t j = 0; j < kPanel; ++j) {
      const float* key = first + j < count ? keys + (first + j) * key_stride : nullptr;
      for (std::int64_t i = 0; i < head_dim; ++i) panel[i * kPanel + j] = key ? key[i] : 0.0f;
    }
  }
}

void pack_values(const float* values, std::int64_t value_stride, std::int64_t count, std::int64_t head_dim, float* panels) {
  for (std::int64_t first = 0; first < head_dim; first += kPanel) {
    float* panel = panels + first * count;
    for (std::int64_t t = 0; t < count; ++t)
      for (std::int64_t j = 0; j < kPanel; j += 16)
        store(panel + t * kPanel + j, first + j < head_dim ? load(values + t * value_stride + first + j) : zero());
  }
}

// Turns scores [count] of one row into weights, zero from `visible` to the next multiple of 32; returns the factor by which what
// was accumulated before has to shrink.
CROSSOVER_INLINE float weigh(float* scores, std::int64_t visible, std::int64_t padded, float& row_max, float& row_sum) {
  if (visible <= 0) {
    for (std::int64_t i = 0; i < padded; i += 16) store(scores + i, zero());
    return 1.0f;
  }
  for (std::int64_t i = visible; i < padded; ++i) scores[i] = -kLargest;
  F16 top = broadcast(-kLargest);
  for (std::int64_t i = 0; i < padded; i += 16) top = max(top, load(scores + i));
  const float block_max = max_lane(min(top, broadcast(kLargest)));
  const float new_max = row_max > block_max ? row_max : block_max;
  F16 total = zero();
  for (std::int64_t i = 0; i < visible; i += 16) {
    const F16 s = min(max(load(scores + i), broadcast(-kLargest)), broadcast(kLargest));
    store(scores + i, exp(s - broadcast(new_max)));
    if (i + 16 <= visible) total = total + load(scores + i);
  }
  for (std::int64_t i = visible; i < padded; ++i) scores[i] = 0.0f;
  if (visible % 16 != 0) total = total + load(scores + visible / 16 * 16);
  const float shrink = __builtin_expf(row_max - new_max);  // 0 when nothing was seen before: row_max is -inf
  row_sum = row_sum * shrink + sum(total);
  row_max = new_max;
  return shrink;
}

CROSSOVER_INLINE void scale(float* x, std::int64_t count, float factor) {
  if (factor == 1.0f) return;
  for (std::int64_t i = 0; i < count; i += 16) store(x + i, broadcast(factor) * load(x + i));
}

CROSSOVER_INLINE std::int64_t most_visible(const std::int64_t* visible, std::int64_t rows, std::int64_t count) {
  std::int64_t most = 0;
  for (std::int64_t r = 0; r < rows; ++r) most = visible[r] > most ? visible[r] : most;
  return most < count ? most : count;
}

CROSSOVER_INLINE void weigh_rows(float* scores, std::int64_t stride, std::int64_t rows, std::int64_t seen, const std::int64_t* visible,
                                 float* row_max, float* row_sum, float* accumulator, std::int64_t accumulator_stride, std::int64_t cols) {
  for (std::int64_t r = 0; r < rows; ++r) {
    const std::int64_t n = visible[r] < seen ? visible[r] : seen;
    scale(accumulator + r * accumulator_stride, cols, weigh(scores + r * stride, n, stride, row_max[r], row_sum[r]));
  }
}

void tile(const float* q, std::int64_t q_stride, std::int64_t rows, std::int64_t head_dim, const float* key_panels, const float* value_panels,
          std::int64_t count, const std::int64_t* visible, float* row_max, float* row_sum, float* accumulator,
          std::int64_t accumulator_stride, float* scratch) {
  const std::int64_t seen = most_visible(visible, rows, count);
  if (seen == 0) return;
  const std::int64_t stride = round_up(seen, kPanel);
  for (std::int64_t first = 0; first < seen; first += kPanel)
    product(q, q_stride, key_panels + first * head_dim, kPanel, rows, kPanel, head_dim, scratch + first, stride, nullptr);
  const std::int64_t cols = round_up(head_dim, kPanel);
  weigh_rows(scratch, stride, rows, seen, visible, row_max, row_sum, accumulator, accumulator_stride, cols);
  const float one = 1.0f;
  for (std::int64_t c = 0; c < cols; c += kPanel)
    product(scratch, stride, value_panels + c * count, kPanel, rows, kPanel, seen, accumulator + c, accumulator_stride, &one);
}

// scores[r * stride + n] for four rows (or fewer) and four keys (or fewer): sixteen sums at once.
CROSSOVER_INLINE void dots(const float* q, std::int64_t q_stride, std::int64_t rows, const float* keys, std::int64_t key_stride,
                           std::int64_t count, std::int64_t head_dim, float* scores, std::int64_t stride) {
  const float *row[4], *key[4];
  for (int i = 0; i < 4; ++i) {
    row[i] = q + (i < rows ? i : 0) * q_stride;
    key[i] = keys + (i < count ? i : 0) * key_stride;
  }
  F16 total[16];
  for (F16& t : total) t = zero();
  for (std::int64_t d = 0; d < head_dim; d += 16) {
    F16 k[4];
    for (int n = 0; n < 4; ++n) k[n] = load(key[n] + d);
    for (int r = 0; r < 4; ++r) {
      const F16 x = load(row[r] + d);
      for (int n = 0; n < 4; ++n) total[4 * r + n] = fma(x, k[n], total[4 * r + n]);
    }
  }
  float lanes[16];
  store(lanes, sums_of(total));
  for (std::int64_t r = 0; r < rows && r < 4; ++r)
    for (std::int64_t n = 0; n < count && n < 4; ++n) scores[r * stride + n] = lanes[4 * r + n];
}

CROSSOVER_INLINE void prefetch_row(const float* row, std::int64_t dim) {
  for (std::int64_t i = 0; i < dim; i += 16) __builtin_prefetch(row + i, 0, 2);
}

void few_rows(const float* q, std::int64_t q_stride, std::int64_t rows, std::int64_t head_dim, const float* keys, std::int64_t key_stride,
              const float* values, std::int64_t value_stride, std::int64_t count, const std::int64_t* visible, float* row_max,
              float* row_sum, float* accumulator, std::int64_t accumulator_stride, float* scratch) {
  const std::int64_t seen = most_visible(visible, rows, count);
  if (seen == 0) return;
  const std::int64_t stride = round_up(seen, kPanel);
  constexpr std::int64_t kAhead = 8;  // keys
  const bool far = key_stride > head_dim;  // rows of a cache in place: the hardware does not see the stream
  for (std::int64_t n = 0; n < seen; n += 4) {
    for (std::int64_t i = n; far && i < n + 4 && i < seen; ++i) {
      if (i + kAhead < seen) prefetch_row(keys + (i + kAhead) * key_stride, head_dim);
      prefetch_row(values + i * value_stride, head_dim);
    }
    for (std::int64_t r = 0; r < rows; r += 4)
      dots(q + r * q_stride, q_stride, rows - r, keys + n * key_stride, key_stride, seen - n, head_dim, scratch + r * stride + n, stride);
  }
  weigh_rows(scratch, stride, rows, seen, visible, row_max, row_sum, accumulator, accumulator_stride, head_dim);
  const float one = 1.0f;
  constexpr std::int64_t kStep = 16;  // values that stay in L1 while the strips of columns pass over them
  for (std::int64_t n = 0; n < seen; n += kStep)
    product(scratch + n, stride, values + n * value_stride, value_stride, rows, head_dim, seen - n < kStep ? seen - n : kStep, accumulator,
            accumulator_stride, &one);
}

}  // namespace

extern const AttentionMicro attention;
const AttentionMicro attention = {pack_keys, pack_values, tile, few_rows};

}  // namespace crossover::cpu::CROSSOVER_ISA
