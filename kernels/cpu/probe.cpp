#include "kernels/cpu/probe.h"

namespace crossover::cpu {

namespace portable {
extern const FmaProbe probe;
}
namespace avx2 {
extern const FmaProbe probe;
}
namespace avx512 {
extern const FmaProbe probe;
}
namespace avx512bf16 {
extern const FmaProbe probe;
}

const FmaProbe& fma_probe(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::kAvx512Bf16) return avx512bf16::probe;
  if (isa == Isa::kAvx512) return avx512::probe;
  if (isa == Isa::kAvx2) return avx2::probe;
#endif
  static_cast<void>(isa);
  return portable::probe;
}

}  // namespace crossover::cpu
