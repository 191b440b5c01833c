// Rotations of the heads of a KV cache and the fixed signs of one of them, for all backends; kernels/cpu/micro includes this too.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace crossover {

// An orthogonal map of every head of a cache, which spreads outliers before they are quantized.
enum class Rotation : std::uint8_t {
  kNone,
  kHadamard,  // H_hd / sqrt(hd), its own inverse; hd a power of two from 16 to 256
  kSigned,    // blocks of 128: s2 * (H_128 / sqrt(128)) (s1 * x) with two fixed vectors of signs; hd a multiple of 128
};
const char* name(Rotation rotation);  // "none", "fwht", "signed"
std::optional<Rotation> parse_rotation(std::string_view name);

inline constexpr std::int64_t kSignedBlock = 128;

// Bit i of word i / 32, lowest first: value i of the block is negated; [0] before the transform, [1] after it.
inline constexpr std::uint32_t kSignBits[2][4] = {{0xe46a0359u, 0x42f85949u, 0xa4c63bbbu, 0x49f250a9u},
                                                  {0x16acee90u, 0x3f628fdcu, 0xb7a5357au, 0xbea56562u}};

constexpr float rotation_sign(int vector, std::int64_t i) { return kSignBits[vector][i / 32] >> (i % 32) & 1u ? -1.0f : 1.0f; }

}  // namespace crossover
