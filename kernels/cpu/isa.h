// Instruction sets of the cpu backend, chosen at run time; a lower one can be forced.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

namespace crossover::cpu {

// Each has the ones before it besides: kAvx2 = AVX2, FMA and F16C; kAvx512 = F, BW, DQ, VL and VNNI; kAvx512Bf16 = BF16 and VBMI.
enum class Isa { kPortable, kAvx2, kAvx512, kAvx512Bf16 };

const char* name(Isa isa);  // "portable", "avx2", "avx512", "avx512bf16"
std::optional<Isa> parse_isa(std::string_view name);
Isa highest_isa();               // that this CPU, the operating system and this build support
Isa best_isa();                  // the one to use: the highest, but for cores with AMX, whose vdpbf16ps is slower than their f32
std::vector<Isa> usable_isas();  // up to the highest, ascending, for tests

struct Micro;
const Micro& micro(Isa isa);     // std::runtime_error when this CPU lacks it

}  // namespace crossover::cpu
