// Tiles by the instructions. In assembly, because the functions of GCC 12's header do not say which memory they read: the compiler drops
// stores to the configuration, and may move stores to what is loaded behind the load.
#pragma once

#include "kernels/cpu/tiles/tiles.h"

namespace crossover::cpu::CROSSOVER_ISA {

class Tiles {
 public:
  explicit Tiles(const TileConfig& config) { asm volatile("ldtilecfg %0" : : "m"(config) : "memory"); }
  ~Tiles() { asm volatile("tilerelease" : : : "memory"); }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;

  template <int tile>
  void zero() { asm volatile("tilezero %%tmm%c0" : : "i"(tile)); }
  // Rows stride_bytes apart.
  template <int tile>
  void load(const void* from, std::int64_t stride_bytes) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride_bytes), "i"(tile) : "memory");
  }
  // The same for what is not loaded again before long: it leaves the L1 cache to what is.
  template <int tile>
  void load_once(const void* from, std::int64_t stride_bytes) {
    asm volatile("tileloaddt1 (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride_bytes), "i"(tile) : "memory");
  }
  template <int tile>
  void store(void* to, std::int64_t stride_bytes) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(stride_bytes), "i"(tile) : "memory");
  }
  // f32 sums [M][N] += bf16 a [M][K][2] * bf16 b [K][N][2].
  template <int sums, int a, int b>
  void add_products() { asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(sums), "i"(a), "i"(b)); }
};

}  // namespace crossover::cpu::CROSSOVER_ISA
