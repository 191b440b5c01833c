// Tiles of bf16 and their products: 32 tokens times 32 weight rows are four tiles of f32 sums.
#pragma once

#include "kernels/cpu/micro/simd.h"
#include "kernels/cpu/tiles/tiles.h"
#include "kernels/tensor.h"

namespace crossover::cpu::CROSSOVER_ISA {

inline constexpr std::int64_t kBlockTokens = 2 * kSide;

inline constexpr std::int64_t kBlockSteps = 8;  // of what is widened at once: 256 columns of kPanelRows rows

// Left operands are activations, [token][pair], right ones weights, [pair][weight row].
struct WeightStep { Tile half[2]; };  // rows 0 .. 15 and 16 .. 31 of a panel
static_assert(kPanelRows == 2 * kSide);

// Sums of 32 tokens and 32 weight rows: [tokens 0 .. 15, 16 .. 31][rows 0 .. 15, 16 .. 31].
struct alignas(64) SumTiles { float sum[2][2][kSide][16]; };

// sums = or += products over `steps` steps; a: the tiles of the first 16 tokens, a_second: those of the others. `meanwhile` is called
// after every step: what it does in vectors and ahead of time costs little, because tiles are multiplied by a unit of their own.
template <bool kTwo, class Meanwhile>
CROSSOVER_INLINE void add_steps(Tiles& unit, const WeightStep* weights, std::int64_t steps, const Tile* a, const Tile* a_second, bool accumulate,
                                SumTiles& sums, Meanwhile& meanwhile) {
  if (accumulate) {
    unit.load<0>(sums.sum[0][0], 64), unit.load<1>(sums.sum[0][1], 64);
    if constexpr (kTwo) unit.load<2>(sums.sum[1][0], 64), unit.load<3>(sums.sum[1][1], 64);
  } else {
    unit.zero<0>(), unit.zero<1>();
    if constexpr (kTwo) unit.zero<2>(), unit.zero<3>();
  }
  for (std::int64_t s = 0; s < steps; ++s) {
    unit.load<4>(a + s, 64), unit.load<6>(&weights[s].half[0], 64);
    unit.add_products<0, 4, 6>();
    unit.load<7>(&weights[s].half[1], 64);
    unit.add_products<1, 4, 7>();
    if constexpr (kTwo) {
      unit.load<5>(a_second + s, 64);
      unit.add_products<2, 5, 6>();
      unit.add_products<3, 5, 7>();
    }
    meanwhile();
  }
  unit.store<0>(sums.sum[0][0], 64), unit.store<1>(sums.sum[0][1], 64);
  if constexpr (kTwo) unit.store<2>(sums.sum[1][0], 64), unit.store<3>(sums.sum[1][1], 64);
}

}  // namespace crossover::cpu::CROSSOVER_ISA
