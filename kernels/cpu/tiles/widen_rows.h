// Weights in rows to tiles of bf16: pairs of 16 rows are transposed.
#pragma once

#include "kernels/cpu/micro/bytes.h"
#include "kernels/cpu/micro/matvec_float.h"
#include "kernels/cpu/micro/transpose.h"
#include "kernels/cpu/tiles/bf16.h"
#include "kernels/cpu/tiles/tile_products.h"

namespace crossover::cpu::CROSSOVER_ISA {

// kStep values as they are stored, to pairs of bf16.
struct StoredBf16 {
  static constexpr std::int64_t kBytes = 2 * kStep;
  CROSSOVER_INLINE static void widen(const std::byte* from, std::uint32_t* to) { __builtin_memcpy(to, from, kBytes); }
};

struct StoredQ8_0 {
  static constexpr std::int64_t kBytes = 2 + kStep;  // an f16 factor, then codes
  CROSSOVER_INLINE static void widen(const std::byte* from, std::uint32_t* to) {
    std::uint16_t bits;
    __builtin_memcpy(&bits, from, sizeof bits);
    const float d = half_to_float(bits);
    alignas(64) float x[kStep];
    for (int i = 0; i < kStep; ++i) x[i] = d * static_cast<float>(static_cast<std::int8_t>(from[2 + i]));
    store_bf16(x, to);
  }
};

// 256 columns of up to 32 rows; those that are missing are zeros.
template <class Stored>
struct RowsBlock {
  static constexpr float kSums = 1;

  static RowsBlock of(const std::byte* weights, std::int64_t rows, std::int64_t panel, std::int64_t depth, std::int64_t depths) {
    const std::int64_t row_bytes = depths * kBlockSteps * Stored::kBytes, first = panel * kPanelRows;
    return {weights + first * row_bytes + depth * kBlockSteps * Stored::kBytes, row_bytes, rows - first};
  }
  CROSSOVER_INLINE static void pack(const float* x, std::uint32_t* to) { store_bf16(x, to); }
  // Rows 0 .. 15 or 16 .. 31 of a step.
  CROSSOVER_INLINE void widen(int piece, WeightStep& to) const {
    alignas(64) std::uint32_t pairs[kSide][16];
    for (std::int64_t r = 0; r < kSide; ++r) {
      if (first_row(piece) + r < rows) Stored::widen(at(piece, r), pairs[r]);
      else __builtin_memset(pairs[r], 0, sizeof pairs[r]);
    }
    transpose_16x16(reinterpret_cast<const float*>(pairs), 16, reinterpret_cast<float*>(to.half[piece % 2].pair), 16);
  }
  CROSSOVER_INLINE void prefetch(int piece) const {
    for (std::int64_t r = 0; r < kSide && first_row(piece) + r < rows; ++r) __builtin_prefetch(at(piece, r));
  }

  const std::byte* first;  // column 0 of row 0
  std::int64_t row_bytes, rows;

 private:
  static std::int64_t first_row(int piece) { return kSide * (piece % 2); }
  const std::byte* at(int piece, std::int64_t r) const { return first + (first_row(piece) + r) * row_bytes + piece / 2 * Stored::kBytes; }
};

}  // namespace crossover::cpu::CROSSOVER_ISA
