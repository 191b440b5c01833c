#include "kernels/cpu/probe.h"

#include "kernels/cpu/tiles/tile_micro.h"

namespace crossover::cpu {

namespace portable {
extern const Probes probes;
}
namespace avx2 {
extern const Probes probes;
}
namespace avx512 {
extern const Probes probes;
}
namespace avx512bf16 {
extern const Probes probes;
}

const Probes& probes(Isa isa) {
#if defined(__x86_64__)
  static const Probes amx_probes{avx512::probes.f32, avx512::probes.int8, amx::tiles.bf16};
  if (isa == Isa::kAmx) return amx_probes;
  if (isa == Isa::kAvx512Bf16) return avx512bf16::probes;
  if (isa == Isa::kAvx512) return avx512::probes;
  if (isa == Isa::kAvx2) return avx2::probes;
#endif
  static_cast<void>(isa);
  return portable::probes;
}

}  // namespace crossover::cpu
