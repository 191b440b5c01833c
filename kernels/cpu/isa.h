// Instruction sets of the cpu backend, chosen at run time; a lower one can be forced.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

namespace crossover::cpu {

enum class Isa { kPortable, kAvx2, kAvx512 };  // kAvx2 = AVX2 + FMA + F16C; kAvx512 = F, BW, DQ, VL and VNNI besides

const char* name(Isa isa);  // "portable", "avx2", "avx512"
std::optional<Isa> parse_isa(std::string_view name);
Isa best_isa();                  // the highest that this CPU, the operating system and this build support
std::vector<Isa> usable_isas();  // ascending, for tests

struct Micro;
const Micro& micro(Isa isa);     // std::runtime_error when this CPU lacks it

}  // namespace crossover::cpu
