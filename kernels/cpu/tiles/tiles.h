// The tile registers of AMX: eight of up to 16 rows of 64 bytes, and an instruction that multiplies two of them into a third. They belong
// to a thread; what uses them holds a Tiles, which configures them and gives them up at its end, so that they are saved and restored
// only for threads that are multiplying. In two forms of one interface: the instructions, and plain loops that do the same, for the
// tests of machines without them.
#pragma once

#include <cstdint>

namespace crossover::cpu::CROSSOVER_ISA {

// As the ldtilecfg instruction reads it (Intel's manual, volume 1, 18.3).
struct alignas(64) TileConfig {
  std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
  std::uint16_t row_bytes[16] = {};  // of tiles 0 .. 7; the others stay 0
  std::uint8_t rows[16] = {};
};
static_assert(sizeof(TileConfig) == 64);

inline constexpr std::int64_t kSide = 16;  // rows, and 32-bit columns, of a whole tile
inline constexpr std::int64_t kStep = 32;  // values of bf16 along the sum of a product

// Pairs of bf16 along the sum, the first in the low half: as the left operand [row][pair], as the right one [pair][column].
struct alignas(64) Tile { std::uint32_t pair[kSide][16]; };
static_assert(sizeof(Tile) == 1024);

constexpr TileConfig full_tiles() {
  TileConfig config;
  for (int i = 0; i < 8; ++i) config.row_bytes[i] = 64, config.rows[i] = 16;
  return config;
}
inline constexpr TileConfig kTiles = full_tiles();

}  // namespace crossover::cpu::CROSSOVER_ISA

#if defined(CROSSOVER_EMULATED_TILES)
#include "kernels/cpu/tiles/emulated_tiles.h"
#else
#include "kernels/cpu/tiles/amx_tiles.h"
#endif
