// Many tokens times a panel, without AVX-512: a copy of the panel with one byte per code, which a worker keeps in its L2 cache while
// they pass over it. (With AVX-512: panel_pairs.h.)
#pragma once

#if !defined(__AVX512F__)

#include "kernels/cpu/micro/panel_products.h"

namespace crossover::cpu::CROSSOVER_ISA {

// 16 values of the 32 rows of a panel.
struct alignas(64) UnpackedGroup {
  std::uint8_t quad[4][2][64];  // [quad][rows 0 .. 15, 16 .. 31][4r + i]
  std::int32_t scale[32];       // as scale_lanes wants it
};

// 256 values.
struct alignas(64) UnpackedBlock {
  UnpackedGroup group[16];
  float d[32];
};

inline void unpack_block(const PanelQ6_K& from, UnpackedBlock& to) {
  alignas(64) PanelQ6_K::Factors factors;
  copy_factors(from, factors);
  for (int g = 0; g < 16; ++g)
    for (int v = 0; v < kPanelVectors; ++v) {
      Bytes quad[4];
      unpack_quads(from.half[g], v, quad);
      for (int q = 0; q < 4; ++q) store_bytes(to.group[g].quad[q][0] + kVectorBytes * v, quad[q]);
      store_bytes(to.group[g].scale + kPanelLanes * v, scale_lanes(factors.scales[g] + kPanelLanes * v));
    }
  for (int v = 0; v < kPanelVectors; ++v) store_floats(to.d + kPanelLanes * v, halves(factors.d + kPanelLanes * v));
}

class UnpackedSource {
 public:
  static constexpr int kPanels = 1;
  CROSSOVER_INLINE explicit UnpackedSource(const UnpackedBlock* first) : first_(first) {}
  CROSSOVER_INLINE void enter(std::int64_t b) { block_ = first_ + b; }
  CROSSOVER_INLINE void quads(int group, int vector, Bytes quad[4]) const {
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) quad[q] = load_bytes(block_->group[group].quad[q][0] + kVectorBytes * vector);
  }
  CROSSOVER_INLINE Bytes scale(int group, int vector) const { return scale_lanes(block_->group[group].scale + kPanelLanes * vector); }
  CROSSOVER_INLINE Floats d(int vector) const { return load_floats(block_->d + kPanelLanes * vector); }

 private:
  const UnpackedBlock *first_, *block_ = nullptr;
};

}  // namespace crossover::cpu::CROSSOVER_ISA

#endif
