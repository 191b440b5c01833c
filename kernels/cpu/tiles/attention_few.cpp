// Attention of few rows on tiles. Keys are a product's left operand as they lie, rows of bf16, so scores come out turned: [key][query row]. Values
// become pairs of rows, 64 keys by 64 features at a time, in the L1 cache.
//
// The bound is the cache read once. For a key and its value of 256 products take some 10 ns, conversion to bf16 20 and pairs 12; an f16 cache
// takes 37 ns from the L3 cache of a Granite Rapids core and 80 from memory.
#include "kernels/cpu/tiles/attention_few.h"
#include "kernels/cpu/micro/transpose.h"
#include "kernels/cpu/tiles/attention_weights.h"
#include "kernels/cpu/tiles/tiles.h"

namespace crossover::cpu::CROSSOVER_ISA {
namespace {

constexpr std::int64_t kTileValues = 2 * kSide * kSide;

// Sums of products of `rows` <= 16 rows.
TileConfig sums_of(std::int64_t rows) {
  TileConfig config = full_tiles();
  for (int i = 0; i < 5; ++i) config.rows[i] = static_cast<std::uint8_t>(rows);
  return config;
}

// scores[r * stride + n] = sums[n][r], n < 16, r < rows <= 16.
CROSSOVER_INLINE void turn_scores(const float (*sums)[kSide], std::int64_t rows, float* scores, std::int64_t stride) {
  alignas(64) float turned[kSide][kSide];
  transpose_16x16(sums[0], kSide, turned[0], kSide);
  for (std::int64_t r = 0; r < rows; ++r) store(scores + r * stride, load(turned[r]));
}

// Of 64 keys and 16 query rows.
CROSSOVER_INLINE void score_64(Tiles& tiles, const std::uint16_t* queries, const std::uint16_t* keys, std::int64_t stride, std::int64_t steps,
                               float (*sums)[kSide]) {
  const std::int64_t below = kSide * stride, row = 2 * stride;
  tiles.zero<0>(), tiles.zero<1>(), tiles.zero<2>(), tiles.zero<3>();
  for (std::int64_t s = 0; s < steps; ++s, keys += kStep, queries += 2 * kTileValues) {
    tiles.load<6>(queries, 64);
    tiles.load<4>(keys, row);
    tiles.add_products<0, 4, 6>();
    tiles.load<5>(keys + below, row);
    tiles.add_products<1, 5, 6>();
    tiles.load<4>(keys + 2 * below, row);
    tiles.add_products<2, 4, 6>();
    tiles.load<5>(keys + 3 * below, row);
    tiles.add_products<3, 5, 6>();
  }
  tiles.store<0>(sums, 64), tiles.store<1>(sums + kSide, 64), tiles.store<2>(sums + 2 * kSide, 64), tiles.store<3>(sums + 3 * kSide, 64);
}

CROSSOVER_INLINE void score_16(Tiles& tiles, const std::uint16_t* queries, const std::uint16_t* keys, std::int64_t stride, std::int64_t steps,
                               float (*sums)[kSide]) {
  tiles.zero<0>();
  for (std::int64_t s = 0; s < steps; ++s, keys += kStep, queries += 2 * kTileValues) {
    tiles.load<6>(queries, 64), tiles.load<4>(keys, 2 * stride);
    tiles.add_products<0, 4, 6>();
  }
  tiles.store<0>(sums, 64);
}

// Pairs of 64 keys (zeros from `count` on) and 64 features: [2 units of 32 keys][4][16 pairs][16 features].
CROSSOVER_INLINE void pair_values(const std::uint16_t* values, std::int64_t stride, std::int64_t count, std::int64_t features, std::uint16_t* to) {
  static constexpr std::uint16_t kZeros[kStep] = {};
  for (std::int64_t t = 0; t < 2 * kStep; t += 2) {
    std::uint16_t* row = to + t / kStep * 4 * kTileValues + t % kStep * kSide;
    for (std::int64_t d = 0; d < features; d += kStep, row += 2 * kTileValues)
      interleave(t < count ? values + t * stride + d : kZeros, t + 1 < count ? values + (t + 1) * stride + d : kZeros, row, row + kTileValues);
  }
}

// `columns` tiles of sums += weights of up to 64 keys times their values.
template <int columns>
CROSSOVER_INLINE void add_64(Tiles& tiles, const std::uint16_t* weights, std::int64_t weight_stride, const std::uint16_t* pairs, std::int64_t units,
                             float* sums, std::int64_t stride) {
  const std::int64_t row = 4 * stride;
  tiles.load<0>(sums, row), tiles.load<1>(sums + kSide, row);
  if constexpr (columns == 4) tiles.load<2>(sums + 2 * kSide, row), tiles.load<3>(sums + 3 * kSide, row);
  for (std::int64_t u = 0; u < units; ++u, pairs += 4 * kTileValues) {
    tiles.load<4>(weights + kStep * u, 2 * weight_stride), tiles.load<6>(pairs, 64);
    tiles.add_products<0, 4, 6>();
    tiles.load<7>(pairs + kTileValues, 64);
    tiles.add_products<1, 4, 7>();
    if constexpr (columns == 4) {
      tiles.load<6>(pairs + 2 * kTileValues, 64);
      tiles.add_products<2, 4, 6>();
      tiles.load<7>(pairs + 3 * kTileValues, 64);
      tiles.add_products<3, 4, 7>();
    }
  }
  tiles.store<0>(sums, row), tiles.store<1>(sums + kSide, row);
  if constexpr (columns == 4) tiles.store<2>(sums + 2 * kSide, row), tiles.store<3>(sums + 3 * kSide, row);
}

}  // namespace

void few_scores(const std::uint16_t* queries, std::int64_t rows, const std::uint16_t* keys, std::int64_t key_stride, std::int64_t count, std::int64_t head_dim,
                float* scores, std::int64_t stride) {
  alignas(64) float sums[4 * kSide][kSide];
  Tiles tiles(kTiles);
  for (std::int64_t r = 0; r < rows; r += kSide, queries += kTileValues, scores += kSide * stride) {
    const std::int64_t these = rows - r < kSide ? rows - r : kSide;
    std::int64_t n = 0;
    for (; n + 4 * kSide <= count; n += 4 * kSide) {
      score_64(tiles, queries, keys + n * key_stride, key_stride, head_dim / kStep, sums);
      for (std::int64_t i = 0; i < 4 * kSide; i += kSide) turn_scores(sums + i, these, scores + n + i, stride);
    }
    for (; n < count; n += kSide) {
      score_16(tiles, queries, keys + n * key_stride, key_stride, head_dim / kStep, sums);
      turn_scores(sums, these, scores + n, stride);
    }
  }
}

void few_weights(float* scores, std::int64_t stride, std::int64_t rows, std::int64_t count, const std::int64_t* visible, std::uint16_t* weights,
                 std::int64_t weight_stride, float* row_max, float* row_sum) {
  for (std::int64_t r = 0; r < rows; ++r) {
    alignas(64) float sums[kSide] = {};
    const std::int64_t seen = visible[r] < count ? visible[r] : count;
    for (std::int64_t n = 0; n < count; n += kStripKeys)
      weigh_strip(scores + r * stride + n, seen - n, weights + r * weight_stride, n, row_max[r], sums, sums, kSide);
    row_sum[r] = sum(load(sums));
  }
  if (rows <= kSide) return;
  const std::int64_t width = (count + kStripKeys - 1) / kStripKeys * kStripKeys;
  for (std::int64_t r = rows; r < 2 * kSide; ++r) __builtin_memset(weights + r * weight_stride, 0, static_cast<std::size_t>(width) * sizeof *weights);
}

void few_values(const std::uint16_t* weights, std::int64_t weight_stride, std::int64_t rows, const std::uint16_t* values, std::int64_t value_stride,
                std::int64_t count, std::int64_t head_dim, float* accumulator, std::int64_t accumulator_stride) {
  alignas(64) std::uint16_t pairs[2 * 4 * kTileValues];
  const TileConfig config = sums_of(rows < kSide ? rows : kSide);
  Tiles tiles(config);
  for (std::int64_t n = 0; n < count; n += 2 * kStep, values += 2 * kStep * value_stride, weights += 2 * kStep) {
    const std::int64_t units = count - n > kStep ? 2 : 1;
    for (std::int64_t d = 0; d < head_dim; d += 4 * kSide) {
      const bool whole = head_dim - d >= 4 * kSide;
      pair_values(values + d, value_stride, count - n, whole ? 4 * kSide : 2 * kSide, pairs);
      for (std::int64_t r = 0; r < rows; r += kSide) {
        const std::uint16_t* of = weights + r * weight_stride;
        float* to = accumulator + r * accumulator_stride + d;
        if (whole) add_64<4>(tiles, of, weight_stride, pairs, units, to, accumulator_stride);
        else add_64<2>(tiles, of, weight_stride, pairs, units, to, accumulator_stride);
      }
    }
  }
}

}  // namespace crossover::cpu::CROSSOVER_ISA
