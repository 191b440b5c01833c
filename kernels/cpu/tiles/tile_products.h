// Tiles of bf16 and their products: 32 tokens times 32 weight rows are four tiles of f32 sums.
#pragma once

#include "kernels/cpu/micro/simd.h"
#include "kernels/cpu/tiles/tiles.h"
#include "kernels/tensor.h"

namespace crossover::cpu::CROSSOVER_ISA {

inline constexpr std::int64_t kBlockTokens = 2 * kSide;

inline constexpr std::int64_t kBlockSteps = 8;                 // of a block of weights: 256 columns of kPanelRows rows
inline constexpr int kBlockPieces = 2 * kBlockSteps;  // it is widened in: two for every step

// Left operands are activations, [token][pair], right ones weights, [pair][weight row].
struct WeightStep { Tile half[2]; };  // rows 0 .. 15 and 16 .. 31 of a panel
static_assert(kPanelRows == 2 * kSide);

// Sums of 32 tokens and 32 weight rows: [tokens 0 .. 15, 16 .. 31][rows 0 .. 15, 16 .. 31].
struct alignas(64) SumTiles { float sum[2][2][kSide][16]; };

// The first tokens' sums are tiles 0 and 1, of both halves of the weights; with kTwo the others' are 2 and 3.
template <bool kTwo>
CROSSOVER_INLINE void zero_sums(Tiles& unit) {
  unit.zero<0>(), unit.zero<1>();
  if constexpr (kTwo) unit.zero<2>(), unit.zero<3>();
}
template <bool kTwo>
CROSSOVER_INLINE void load_sums(Tiles& unit, const SumTiles& sums) {
  unit.load<0>(sums.sum[0][0], 64), unit.load<1>(sums.sum[0][1], 64);
  if constexpr (kTwo) unit.load<2>(sums.sum[1][0], 64), unit.load<3>(sums.sum[1][1], 64);
}
template <bool kTwo>
CROSSOVER_INLINE void store_sums(Tiles& unit, SumTiles& sums) {
  unit.store<0>(sums.sum[0][0], 64), unit.store<1>(sums.sum[0][1], 64);
  if constexpr (kTwo) unit.store<2>(sums.sum[1][0], 64), unit.store<3>(sums.sum[1][1], 64);
}

// The sums += products over one step; a: the tile of the first 16 tokens, a_second: that of the others.
template <bool kTwo>
CROSSOVER_INLINE void add_step(Tiles& unit, const WeightStep& weights, const Tile& a, const Tile& a_second) {
  unit.load<4>(&a, 64), unit.load<6>(&weights.half[0], 64);
  unit.add_products<0, 4, 6>();
  unit.load<7>(&weights.half[1], 64);
  unit.add_products<1, 4, 7>();
  if constexpr (kTwo) {
    unit.load<5>(&a_second, 64);
    unit.add_products<2, 5, 6>();
    unit.add_products<3, 5, 7>();
  }
}

// Tiles for add_step with up to kBlockTokens: a product takes as many cycles as it has tokens.
constexpr TileConfig tiles_of(std::int64_t tokens) {
  TileConfig config = kTiles;
  const auto first = static_cast<std::uint8_t>(tokens < kSide ? tokens : kSide);
  config.rows[0] = config.rows[1] = config.rows[4] = first;
  if (tokens > kSide) config.rows[2] = config.rows[3] = config.rows[5] = static_cast<std::uint8_t>(tokens - kSide);
  return config;
}

}  // namespace crossover::cpu::CROSSOVER_ISA
