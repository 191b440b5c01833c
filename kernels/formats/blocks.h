// Bytes of the block formats as ggml lays them out (ggml-common.h), little-endian. Plain data without functions: the
// files of kernels/cpu/micro include this too. Packed, because a block may start at any address inside a mapped file.
#pragma once

#include <cstdint>

namespace crossover {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "fields are read as they lie in the file");

struct __attribute__((packed)) BlockQ8_0 {
  std::uint16_t d;  // f16
  std::int8_t q[32];
};

// Byte j of q: weight j in the low nibble, weight j + 16 in the high one.
struct __attribute__((packed)) BlockQ4_0 {
  std::uint16_t d;  // f16
  std::uint8_t q[16];
};
struct __attribute__((packed)) BlockQ4_1 {
  std::uint16_t d, m;  // f16
  std::uint8_t q[16];
};
struct __attribute__((packed)) BlockQ5_0 {
  std::uint16_t d;   // f16
  std::uint32_t qh;  // bit j is the fifth bit of weight j
  std::uint8_t q[16];
};
struct __attribute__((packed)) BlockQ5_1 {
  std::uint16_t d, m;  // f16
  std::uint32_t qh;
  std::uint8_t q[16];
};

// Half h of a block is weights 128h .. 128h + 127; l is 0 .. 31. Weight e is d * scales[e / 16] * (code - 32).
struct __attribute__((packed)) BlockQ6_K {
  std::uint8_t
      ql[128];  // [64h + l]: low four bits of weight l (low nibble) and l + 64; [64h + 32 + l]: of l + 32 and l + 96
  std::uint8_t qh[64];  // [32h + l]: top two bits of weights l, l + 32, l + 64, l + 96, lowest bits first
  std::int8_t scales[16];
  std::uint16_t d;  // f16
};

static_assert(sizeof(BlockQ8_0) == 34 && sizeof(BlockQ4_0) == 18 && sizeof(BlockQ4_1) == 20);
static_assert(sizeof(BlockQ5_0) == 22 && sizeof(BlockQ5_1) == 24 && sizeof(BlockQ6_K) == 210);

// Below these largest magnitudes a Q6_K group, or the scale of a whole block, counts as zero.
inline constexpr float kQ6KZero = 1e-15f;
inline constexpr int kQ6KGroups = 16;  // per block
inline constexpr int kQ6KGroupValues = 16;

}  // namespace crossover
