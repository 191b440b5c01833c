#include "kernels/cpu/isa.h"

#include <stdexcept>
#include <string>

#include "kernels/cpu/micro.h"

namespace crossover::cpu {

const char* name(Isa isa) {
  switch (isa) {
    case Isa::kPortable: return "portable";
    case Isa::kAvx2: return "avx2";
    case Isa::kAvx512: return "avx512";
  }
  return "unknown";
}

std::optional<Isa> parse_isa(std::string_view text) {
  for (Isa isa : {Isa::kPortable, Isa::kAvx2, Isa::kAvx512})
    if (text == name(isa)) return isa;
  return std::nullopt;
}

Isa best_isa() {
#if defined(__x86_64__)
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
  return avx512 ? Isa::kAvx512 : avx2 ? Isa::kAvx2 : Isa::kPortable;
#else
  return Isa::kPortable;
#endif
}

std::vector<Isa> usable_isas() {
  std::vector<Isa> isas;
  for (Isa isa : {Isa::kPortable, Isa::kAvx2, Isa::kAvx512})
    if (isa <= best_isa()) isas.push_back(isa);
  return isas;
}

const Micro& micro(Isa isa) {
  if (isa > best_isa())
    throw std::runtime_error(std::string("instruction set ") + name(isa) + " was asked for, but this CPU supports at most " + name(best_isa()) +
                             "; set CROSSOVER_ISA to auto or a lower one");
  static const Micro portable_micro{Isa::kPortable, &portable::formats, &portable::matmul, &portable::gdn, &portable::attention, &portable::row_ops};
#if defined(__x86_64__)
  static const Micro avx2_micro{Isa::kAvx2, &avx2::formats, &avx2::matmul, &avx2::gdn, &avx2::attention, &avx2::row_ops};
  static const Micro avx512_micro{Isa::kAvx512, &avx512::formats, &avx512::matmul, &avx512::gdn, &avx512::attention, &avx512::row_ops};
  if (isa == Isa::kAvx512) return avx512_micro;
  if (isa == Isa::kAvx2) return avx2_micro;
#endif
  return portable_micro;
}

}  // namespace crossover::cpu
