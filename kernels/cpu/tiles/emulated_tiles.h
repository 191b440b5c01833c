// Tiles in plain loops, by the operation sections of Intel's manual (volume 2): the same bits, and a trap where the instruction faults or
// would work on a tile that is not configured.
#pragma once

#include "kernels/cpu/tiles/tiles.h"

namespace crossover::cpu::CROSSOVER_ISA {

class Tiles {
 public:
  explicit Tiles(const TileConfig& config) : config_(config) {
    demand(config.palette == 1 && config.start_row == 0);
    for (const std::uint8_t byte : config.reserved) demand(byte == 0);
    for (int i = 0; i < 16; ++i) {
      const int row_bytes = config.row_bytes[i], rows = config.rows[i];
      demand(row_bytes <= 64 && rows <= 16 && (row_bytes == 0) == (rows == 0) && (i < 8 || rows == 0));
    }
  }
  ~Tiles() = default;
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;

  template <int tile>
  void zero() {
    demand(config_.rows[tile] > 0);
    __builtin_memset(row_[tile], 0, sizeof row_[tile]);
  }
  template <int tile>
  void load(const void* from, std::int64_t stride_bytes) {
    zero<tile>();
    for (int r = 0; r < config_.rows[tile]; ++r) __builtin_memcpy(row_[tile][r], static_cast<const char*>(from) + r * stride_bytes, config_.row_bytes[tile]);
  }
  template <int tile>
  void load_once(const void* from, std::int64_t stride_bytes) { load<tile>(from, stride_bytes); }
  template <int tile>
  void store(void* to, std::int64_t stride_bytes) {
    demand(config_.rows[tile] > 0);
    for (int r = 0; r < config_.rows[tile]; ++r) __builtin_memcpy(static_cast<char*>(to) + r * stride_bytes, row_[tile][r], config_.row_bytes[tile]);
  }
  // What is below the normal range counts as zero, also in the result. A product of two bf16 is exact, so it does not matter that
  // the instruction fuses it with the sum.
  template <int sums, int a, int b>
  void add_products() {
    static_assert(sums != a && sums != b && a != b);
    const int rows = config_.rows[sums], columns = config_.row_bytes[sums] / 4, depth = config_.row_bytes[a] / 4;
    demand(rows > 0 && config_.rows[a] == rows && config_.row_bytes[b] == config_.row_bytes[sums] && config_.rows[b] == depth);
    demand(config_.row_bytes[sums] % 4 == 0 && config_.row_bytes[a] % 4 == 0);
    for (int m = 0; m < rows; ++m) {
      float part[2][16] = {}, total[16];
      for (int k = 0; k < depth; ++k) {
        const std::uint32_t x = row_[a][m][k];
        for (int n = 0; n < columns; ++n) {
          part[0][n] = normal(part[0][n] + low(x) * low(row_[b][k][n]));
          part[1][n] = normal(part[1][n] + high(x) * high(row_[b][k][n]));
        }
      }
      __builtin_memcpy(total, row_[sums][m], sizeof total);
      for (int n = 0; n < columns; ++n) total[n] = normal(normal(total[n]) + normal(part[0][n] + part[1][n]));
      __builtin_memcpy(row_[sums][m], total, sizeof total);
    }
  }

 private:
  static void demand(bool holds) {
    if (!holds) __builtin_trap();
  }
  static float normal(float x) { return __builtin_fabsf(x) < 0x1p-126f ? __builtin_copysignf(0.0f, x) : x; }
  static float low(std::uint32_t pair) { return normal(__builtin_bit_cast(float, pair << 16)); }
  static float high(std::uint32_t pair) { return normal(__builtin_bit_cast(float, pair & 0xffff0000u)); }

  TileConfig config_;
  alignas(64) std::uint32_t row_[8][16][16] = {};
};

}  // namespace crossover::cpu::CROSSOVER_ISA
