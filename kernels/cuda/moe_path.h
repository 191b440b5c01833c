// Which products a pass through the experts takes: a choice of the host, from shapes and types alone.
#pragma once

#include <cstdint>

#include "kernels/cuda/blocks.h"
#include "kernels/ops.h"

namespace crossover::cuda::moe {

enum class Path : std::uint8_t {
  kNothing,  // no pairs, or experts without rows: the result is zero
  kPairs,    // moe_pairs.h: f32 weights, rows that are not whole units, a gate and an up of two types
  kMatvec,   // moe_matvec.h: two launches
  kTiles,    // moe_gemm.h: sorted by expert
};

// Up to here most pairs have an expert to themselves (64 pairs of 256 experts hit 57), so that sorting them saves few bytes and costs four launches.
inline constexpr std::int64_t kMatvecPairs = 64;
inline constexpr std::int64_t kMatvecChoices = 128;  // of a token: sums of each lie in shared memory

inline Path path_of(const MoeExperts& moe) {
  const auto pairs = static_cast<std::int64_t>(moe.ids.size());
  if (pairs == 0 || moe.gate.rows() == 0) return Path::kNothing;
  if (!in_units(moe.gate) || !in_units(moe.up) || !in_units(moe.down) || moe.gate.dtype != moe.up.dtype) return Path::kPairs;
  const bool few = moe.mode == MoeMode::kPerToken || pairs <= kMatvecPairs;
  return few && pairs <= kMatvecChoices * moe.x.rows ? Path::kMatvec : Path::kTiles;
}

}  // namespace crossover::cuda::moe
