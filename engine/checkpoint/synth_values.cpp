#include "engine/checkpoint/synth_values.h"

#include <cstring>

namespace crossover {
namespace {

constexpr double kNormalDeviation = 37837.0;  // sqrt(4 * 65536^2 / 12), to a whole number
constexpr double kUniformHalf = 131072.0;

// Finalizer of SplitMix64 (Steele, Lea, Flood 2014): a bijection of 64-bit words that passes as random on counters.
std::uint64_t mix(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

float value_at(const SynthValues& v, std::uint64_t index) {
  const std::uint64_t bits = mix(v.key + index * 0x9e3779b97f4a7c15ull);
  std::int32_t integer = 0;
  if (v.uniform)
    integer = static_cast<std::int32_t>(bits >> 46) - 131072;
  else
    integer =
        static_cast<std::int32_t>((bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) + (bits >> 48)) -
        131070;
  return static_cast<float>(integer) * v.scale + v.center;
}

}  // namespace

std::uint64_t synth_key(std::uint64_t seed, std::string_view tensor) {
  std::uint64_t key = mix(seed + 0x9e3779b97f4a7c15ull);
  for (char c : tensor) key = mix(key ^ static_cast<unsigned char>(c)) + 0x9e3779b97f4a7c15ull;
  return key;
}

SynthValues synth_normal(std::uint64_t key, double center, double deviation) {
  return {key, static_cast<float>(center), static_cast<float>(deviation / kNormalDeviation), false};
}

SynthValues synth_uniform(std::uint64_t key, double low, double high) {
  return {key, static_cast<float>((low + high) / 2), static_cast<float>((high - low) / 2 / kUniformHalf), true};
}

void fill_synth(const SynthValues& values, DType dtype, std::int64_t first, std::int64_t count, std::byte* out) {
  for (std::int64_t i = 0; i < count; ++i) {
    const float value = value_at(values, static_cast<std::uint64_t>(first + i));
    if (dtype == DType::kF32) {
      std::memcpy(out + i * 4, &value, sizeof value);
    } else {
      std::uint32_t bits = 0;
      std::memcpy(&bits, &value, sizeof bits);
      const auto half =
          static_cast<std::uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);  // nearest even; all are finite
      std::memcpy(out + i * 2, &half, sizeof half);
    }
  }
}

}  // namespace crossover
