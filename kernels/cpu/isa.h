// Instruction sets of the cpu backend, chosen at run time; a lower one can be forced.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

namespace crossover::cpu {

// Each has the ones before it besides: kAvx2 = AVX2, FMA and F16C; kAvx512 = F, BW, DQ, VL and VNNI; kAvx512Bf16 = BF16 and VBMI;
// kAmx = tiles with products of bf16, for what kAvx512 does by integers and for attention; its cores are slow at vdpbf16ps, so all else is
// kAvx512's.
enum class Isa { kPortable, kAvx2, kAvx512, kAvx512Bf16, kAmx };

const char* name(Isa isa);  // "portable", "avx2", "avx512", "avx512bf16", "amx"
std::optional<Isa> parse_isa(std::string_view name);
Isa highest_isa();               // that this CPU, the operating system and this build support
// The one to use: the highest, but kAvx512 on cores with tiles that may not be used: their vdpbf16ps takes twice the time of the f32
// multiply-adds that do as much.
Isa best_isa();
std::vector<Isa> usable_isas();  // up to the highest, ascending, for tests

// Why this process cannot multiply tiles; null where it can. Asks the system for them when first called.
const char* tiles_lacking();

struct Micro;
const Micro& micro(Isa isa);     // std::runtime_error when this CPU lacks it

}  // namespace crossover::cpu
