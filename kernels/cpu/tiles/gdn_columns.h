// The steps of a chunk of one value head, 32 columns of its state at a time.
#pragma once

#include "kernels/cpu/tiles/gdn_masks.h"

namespace crossover::cpu::CROSSOVER_ISA::scan {

// What a chunk does to 32 columns of the state.
struct Columns {
  Tile copy[kFeatureSteps][2];                           // of the state; right operands are [step][columns]
  Tile x[2][2], kept[2][2];                              // X and diag(e^(G_C - G)) X; `kept` holds what X is made of before
  alignas(64) float sums[2][kHalf][kHalf];
};

// Brings the rows that the caller turns to next closer, one at a time in between products.
class Soon {
 public:
  explicit Soon(const GdnHead& head) : head_(head) {}
  CROSSOVER_INLINE void row() {
    if (left_ == 0) {
      while (stream_ < 3 && !head_.soon[stream_].rows) ++stream_;
      if (stream_ == 3) return;
      at_ = head_.soon[stream_].rows, stride_ = head_.soon[stream_++].stride, left_ = head_.tokens;
    }
    for (std::int64_t i = 0; i < kDim; i += 16) __builtin_prefetch(at_ + i, 0, 2);
    at_ += stride_, --left_;
  }

 private:
  const GdnHead& head_;
  int stream_ = 0;
  const float* at_ = nullptr;
  std::int64_t stride_ = 0, left_ = 0;
};

// One chunk of 32 columns. The vectors' part of the work is cut into slices, 0 .. 3 of each half, so that it can be done in between
// products: either unit works while the other does, and neither waits for what the other is about to store.
struct ChunkColumns {
  const ChunkKeys& keys;
  const HeadChunk& c;
  const ChunkRows& rows;
  float* state;
  std::int64_t column;
  Columns& at;
  Soon& soon;

  CROSSOVER_INLINE void copy_state() const {
    const float* row = state + column;
    for (std::int64_t i = 0; i < kDim; i += 2, row += 2 * kDim)
      for (std::int64_t n = 0; n < 2; ++n)
        store_pairs(at.copy[i / kStep][n].pair[i % kStep / 2], load(row + kSide * n), load(row + kDim + kSide * n));
  }

  // sums = K S
  template <class Beside>
  CROSSOVER_INLINE void read(Tiles& unit, Beside beside) const {
    for (int half = 0; half < rows.halves; ++half) {
      zero_sums(unit);
      for (int i = 0; i < kFeatureSteps; ++i) {
        add_step(unit, keys.k[2 * half][i], keys.k[2 * half + 1][i], at.copy[i]);
        beside(half, i);
        soon.row();
      }
      store_sums(unit, at.sums[half][0], kHalf);
    }
  }

  // sums and kept = R; of the second half with what correct() left.
  template <int half>
  CROSSOVER_INLINE void residual(int slice) const {
    for (std::int64_t p = 4 * slice; p < 4 * (slice + 1); ++p) {
      const std::int64_t t = kHalf * half + 2 * p;
      const float *v = rows.v + t * rows.v_stride + column, *next = v + rows.v_stride;
      const F16 beta = broadcast(c.beta[t]), next_beta = broadcast(c.beta[t + 1]);
      const F16 scale = broadcast(-c.from_start[t]), next_scale = broadcast(-c.from_start[t + 1]);
      for (std::int64_t n = 0; n < 2; ++n) {
        F16 x = fma(scale, load(at.sums[half][2 * p] + kSide * n), load(v + kSide * n));
        F16 y = fma(next_scale, load(at.sums[half][2 * p + 1] + kSide * n), load(next + kSide * n));
        if constexpr (half == 0) x = beta * x, y = next_beta * y;
        else x = fma(beta, x, load(at.sums[0][2 * p] + kSide * n)), y = fma(next_beta, y, load(at.sums[0][2 * p + 1] + kSide * n));
        store(at.sums[half][2 * p] + kSide * n, x), store(at.sums[half][2 * p + 1] + kSide * n, y);
        store_pairs(at.kept[half][n].pair[p], x, y);
      }
    }
  }

  // X of a half from its R
  CROSSOVER_INLINE void solve(Tiles& unit, int half) const {
    load_sums(unit, at.sums[half][0], kHalf);
    add_step(unit, c.inverse[2 * half], c.inverse[2 * half + 1], at.kept[half]);
    store_sums(unit, at.sums[half][0], kHalf);
  }

  // sums = what X of the first half takes from R of the second
  CROSSOVER_INLINE void correct(Tiles& unit) const {
    zero_sums(unit);
    add_step(unit, c.between[0], c.between[1], at.x[0]);
    store_sums(unit, at.sums[0][0], kHalf);
  }

  CROSSOVER_INLINE void keep(int half, int slice) const {
    for (std::int64_t p = 4 * slice; p < 4 * (slice + 1); ++p) {
      const F16 scale = broadcast(c.to_end[kHalf * half + 2 * p]), next_scale = broadcast(c.to_end[kHalf * half + 2 * p + 1]);
      for (std::int64_t n = 0; n < 2; ++n) {
        const F16 x = load(at.sums[half][2 * p] + kSide * n), y = load(at.sums[half][2 * p + 1] + kSide * n);
        store_pairs(at.x[half][n].pair[p], x, y);
        store_pairs(at.kept[half][n].pair[p], x * scale, y * next_scale);
      }
    }
  }

  template <class Beside>
  CROSSOVER_INLINE void output(Tiles& unit, Beside beside) const {
    for (int half = 0; half < 2; ++half) {
      if (half >= rows.halves) {
        for (int i = 0; i < kFeatureSteps; ++i) beside(half, i);
        break;
      }
      zero_sums(unit);
      for (int i = 0; i < kFeatureSteps; ++i) {
        add_step(unit, c.q[2 * half][i], c.q[2 * half + 1][i], at.copy[i]);
        beside(half, i);
        soon.row();
      }
      for (int i = 0; i <= half; ++i) add_step(unit, c.attend[2 * half][i], c.attend[2 * half + 1][i], at.x[i]);
      store_sums(unit, rows.out + kHalf * half * rows.out_stride + column, rows.out_stride);
    }
  }

  // sums = what 32 features of the state gain
  template <class Beside>
  CROSSOVER_INLINE void gain(Tiles& unit, int step, Beside beside) const {
    zero_sums(unit);
    for (int half = 0; half < 2; ++half) {
      if (half < rows.halves) add_step(unit, keys.kt[2 * step][half], keys.kt[2 * step + 1][half], at.kept[half]);
      beside(half);
      soon.row();
    }
    store_sums(unit, at.sums[step % 2][0], kHalf);
  }

  CROSSOVER_INLINE void update(int step, int slice) const {
    const F16 scale = broadcast(c.whole);
    for (std::int64_t p = 4 * slice; p < 4 * (slice + 1); ++p) {
      float *row = state + (kStep * step + 2 * p) * kDim + column, *next = row + kDim;
      for (std::int64_t n = 0; n < 2; ++n) {
        const F16 x = fma(scale, load(row + kSide * n), load(at.sums[step % 2][2 * p] + kSide * n));
        const F16 y = fma(scale, load(next + kSide * n), load(at.sums[step % 2][2 * p + 1] + kSide * n));
        store(row + kSide * n, x), store(next + kSide * n, y);
        store_pairs(at.copy[step][n].pair[p], x, y);
      }
    }
  }
};

}  // namespace crossover::cpu::CROSSOVER_ISA::scan
