#include "kernels/cpu/probe.h"

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
  if (isa == Isa::kAvx512Bf16) return avx512bf16::probes;
  if (isa == Isa::kAvx512) return avx512::probes;
  if (isa == Isa::kAvx2) return avx2::probes;
#endif
  static_cast<void>(isa);
  return portable::probes;
}

}  // namespace crossover::cpu
