#include "kernels/cpu/isa.h"

#include <stdexcept>
#include <string>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "kernels/cpu/micro.h"
#include "kernels/cpu/tiles/tile_micro.h"

namespace crossover::cpu {
namespace {

constexpr Isa kIsas[] = {Isa::kPortable, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Bf16, Isa::kAmx};

#if defined(__x86_64__)
// Prefetchers differ by maker: kernels/cpu/micro/panel_q6_k.h has what was measured on either.
const PanelMicro* panels_of(const PanelMicro& panels, const PanelMicro& prefetched) { return __builtin_cpu_is("intel") ? &prefetched : &panels; }
#endif

}  // namespace

const char* name(Isa isa) {
  switch (isa) {
    case Isa::kPortable: return "portable";
    case Isa::kAvx2: return "avx2";
    case Isa::kAvx512: return "avx512";
    case Isa::kAvx512Bf16: return "avx512bf16";
    case Isa::kAmx: return "amx";
  }
  return "unknown";
}

std::optional<Isa> parse_isa(std::string_view text) {
  for (Isa isa : kIsas)
    if (text == name(isa)) return isa;
  return std::nullopt;
}

Isa highest_isa() {
#if defined(__x86_64__)
  // CPUID leaf 1, ECX bit 29: F16C. Clang 14 knows no name for it.
  unsigned a = 0, b = 0, c = 0, d = 0;
  const bool f16c = __get_cpuid(1, &a, &b, &c, &d) && (c >> 29 & 1);
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && f16c;
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
  const bool bf16 = avx512 && __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vbmi");
  if (bf16 && !tiles_lacking()) return Isa::kAmx;
  return bf16 ? Isa::kAvx512Bf16 : avx512 ? Isa::kAvx512 : avx2 ? Isa::kAvx2 : Isa::kPortable;
#else
  return Isa::kPortable;
#endif
}

Isa best_isa() {
  const Isa highest = highest_isa();
#if defined(__x86_64__)
  // CPUID leaf 7, EDX bit 24: AMX-TILE. GCC 12 knows no name for it.
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (highest == Isa::kAvx512Bf16 && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d >> 24 & 1)) return Isa::kAvx512;
#endif
  return highest;
}

std::vector<Isa> usable_isas() {
  std::vector<Isa> isas;
  for (Isa isa : kIsas)
    if (isa <= highest_isa()) isas.push_back(isa);
  return isas;
}

const Micro& micro(Isa isa) {
  if (isa > highest_isa())
    throw std::runtime_error(std::string("instruction set ") + name(isa) + " was asked for, but this CPU supports at most " + name(highest_isa()) +
                             (isa == Isa::kAmx && tiles_lacking() ? std::string(" (") + tiles_lacking() + ")" : "") + "; set CROSSOVER_ISA to auto or a lower one");
  static const Micro portable_micro{Isa::kPortable, &portable::formats, &portable::matmul, &portable::panels, &portable::gdn, &portable::attention, &portable::row_ops};
#if defined(__x86_64__)
  static const Micro avx2_micro{Isa::kAvx2, &avx2::formats, &avx2::matmul, &avx2::panels, &avx2::gdn, &avx2::attention, &avx2::row_ops};
  static const Micro avx512_micro{Isa::kAvx512,
                                  &avx512::formats,
                                  &avx512::matmul,
                                  panels_of(avx512::panels, avx512::prefetched_panels),
                                  &avx512::gdn,
                                  &avx512::attention,
                                  &avx512::row_ops};
  static const Micro avx512bf16_micro{Isa::kAvx512Bf16,
                                      &avx512bf16::formats,
                                      &avx512bf16::matmul,
                                      panels_of(avx512bf16::panels, avx512bf16::prefetched_panels),
                                      &avx512bf16::gdn,
                                      &avx512bf16::attention,
                                      &avx512bf16::row_ops,
                                      &avx512bf16::attention_pairs,
                                      nullptr,
                                      nullptr,
                                      avx512bf16::attention_pairs.narrow};
  static const GdnMicro amx_gdn = [] {
    GdnMicro gdn = avx512::gdn;
    gdn.chunked = amx::gdn_chunks;
    return gdn;
  }();
  static const Micro amx_micro = [] {
    Micro micro = avx512_micro;
    micro.isa = Isa::kAmx, micro.gemm_tiles = &amx::tiles.gemm, micro.gdn = &amx_gdn;
    micro.attention_tiles = &amx::attention_tiles, micro.narrow = avx512bf16::attention_pairs.narrow;
    return micro;
  }();
  if (isa == Isa::kAmx) return amx_micro;
  if (isa == Isa::kAvx512Bf16) return avx512bf16_micro;
  if (isa == Isa::kAvx512) return avx512_micro;
  if (isa == Isa::kAvx2) return avx2_micro;
#endif
  return portable_micro;
}

}  // namespace crossover::cpu
