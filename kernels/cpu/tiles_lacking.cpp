#include "kernels/cpu/isa.h"

#if defined(__x86_64__) && defined(__linux__)

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kernels/cpu/tiles/tile_micro.h"

namespace crossover::cpu {
namespace {

// Intel's manual, volume 1, 13.3 and 18.2; arch_prctl and its number from the kernel's Documentation/arch/x86/xstate.rst.
constexpr unsigned kTileBits = 1u << 22 | 1u << 24;  // CPUID leaf 7, EDX: AMX-BF16, AMX-TILE. GCC 12 knows no names for them
constexpr unsigned kHalfBit = 1u << 23;              // the same: AVX512-FP16
constexpr unsigned kSavesStates = 1u << 27;          // CPUID leaf 1, ECX: XGETBV may be used
constexpr std::uint64_t kStates = 1u << 1 | 1u << 2 | 7u << 5 | 3u << 17;  // SSE, AVX, AVX-512, tiles
constexpr long kRequestPermission = 0x1023, kTileData = 18;

std::uint64_t states_kept() {
  unsigned low = 0, high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return static_cast<std::uint64_t>(high) << 32 | low;
}

const char* find_lacking() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & kTileBits) != kTileBits) return "this CPU has no tiles with products of bf16";
  if (!(d & kHalfBit)) return "this CPU has no vectors of f16";
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & kSavesStates) || (states_kept() & kStates) != kStates)
    return "the system does not keep tiles from one thread to the next";
  if (syscall(SYS_arch_prctl, kRequestPermission, kTileData) != 0) return "the system does not let this process use tiles";
  return amx::tiles.work() ? nullptr : "a product of tiles came out wrong";
}

}  // namespace

const char* tiles_lacking() {
  static const char* const lacking = find_lacking();
  return lacking;
}

}  // namespace crossover::cpu

#else

namespace crossover::cpu {

const char* tiles_lacking() { return "this CPU has no tiles with products of bf16"; }

}  // namespace crossover::cpu

#endif
