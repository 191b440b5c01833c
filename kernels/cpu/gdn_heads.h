// Which key head a value head reads; for GdnScan and GdnMixer.
#pragma once

#include "kernels/ops.h"

namespace crossover::cpu {

template <class Heads>
std::int64_t key_head(const Heads& heads, std::int64_t value_head) {
  return heads.order == HeadOrder::kTiled ? value_head % heads.key_heads : value_head / (heads.value_heads / heads.key_heads);
}

// The i-th value head that reads `key_head`.
template <class Heads>
std::int64_t value_head(const Heads& heads, std::int64_t key_head, std::int64_t i) {
  return heads.order == HeadOrder::kTiled ? i * heads.key_heads + key_head : key_head * (heads.value_heads / heads.key_heads) + i;
}

}  // namespace crossover::cpu
