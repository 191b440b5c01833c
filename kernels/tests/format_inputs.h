// Weights that strain the quantizers, and the files of ggml's own results.
#pragma once

#include <bit>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/formats/formats.h"

namespace crossover::testing {

inline std::vector<std::byte> read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path);
  const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
  std::vector<std::byte> result(bytes.size());
  std::memcpy(result.data(), bytes.data(), bytes.size());
  return result;
}

inline std::vector<float> read_floats(const std::string& path) {
  const std::vector<std::byte> bytes = read_file(path);
  std::vector<float> result(bytes.size() / sizeof(float));
  std::memcpy(result.data(), bytes.data(), result.size() * sizeof(float));
  return result;
}

// Input that strains one rule of the quantizers each; blocks of 256, so that every format takes whole blocks of it.
struct Adversary {
  const char* name;
  float (*value)(std::mt19937& random, int block, int index);
};

inline float uniform(std::mt19937& random) { return static_cast<float>(random() >> 8) * 0x1p-24f; }
inline float normal(std::mt19937& random) { return std::normal_distribution<float>(0.0f, 1.0f)(random); }
inline int random_below(std::mt19937& random, unsigned limit) { return static_cast<int>(random() % limit); }
inline float sign(std::mt19937& random) { return random() & 1 ? 1.0f : -1.0f; }
inline float finite_bits(std::mt19937& random) {
  for (;;) {
    const float value = std::bit_cast<float>(static_cast<std::uint32_t>(random()));
    if (std::isfinite(value)) return value;
  }
}

inline const Adversary kAdversaries[] = {
    {"gaussian", [](std::mt19937& r, int block, int) { return normal(r) * std::ldexp(0.02f, block % 24 - 12); }},
    {"gaussian_bf16", [](std::mt19937& r, int, int) { return bf16_to_f32(f32_to_bf16(0.02f * normal(r))); }},
    {"heavy_tail", [](std::mt19937& r, int, int) { return 0.02f * normal(r) / (std::fabs(normal(r)) + 1e-3f); }},
    {"ties", [](std::mt19937& r, int block,
                int) { return sign(r) * static_cast<float>(1 + random_below(r, 2)) * static_cast<float>(block + 1); }},
    {"signed_zeros",
     [](std::mt19937& r, int block, int) { return block % 2 && random_below(r, 40) == 0 ? 0.5f : sign(r) * 0.0f; }},
    {"all_equal", [](std::mt19937&, int block,
                     int) { return (block % 2 ? -1.0f : 1.0f) * std::ldexp(1.1f, 3 * (block % 64) - 96); }},
    {"half_way", [](std::mt19937& r, int block,
                    int) { return (static_cast<float>(random_below(r, 129)) - 64.0f) / (block % 2 ? 64.0f : 127.0f); }},
    {"near_zero_limit", [](std::mt19937& r, int, int) { return sign(r) * 1e-15f * (0.97f + 0.06f * uniform(r)); }},
    {"subnormal", [](std::mt19937& r, int block, int) { return sign(r) * std::ldexp(uniform(r), -126 - block % 24); }},
    {"inverse_overflows",
     [](std::mt19937& r, int block, int) { return sign(r) * std::ldexp(uniform(r), -120 - block % 10); }},
    {"outlier", [](std::mt19937& r, int block, int i) { return i == 37 * block % 256 ? 1e6f : normal(r); }},
    {"near_extreme",
     [](std::mt19937& r, int block, int i) {
       const float extreme = (block % 2 ? -0.3f : 7.0f) * std::ldexp(1.0f, block % 60 - 30);
       return i % 16 == block % 16 ? extreme : extreme * sign(r) * (0.94f + 0.06f * uniform(r));
     }},
    {"code_limits",  // a code of 30, 31, 32 or 33 and a half for one of the candidates, give or take some last places
     [](std::mt19937& r, int block, int i) {
       const float extreme = (block % 2 ? -1.0f : 1.0f) * (0.5f + static_cast<float>(block) / 400.0f);
       if (i % 16 == 0) return extreme;
       const float candidate = 32.0f + 0.1f * static_cast<float>(random_below(r, 19) - 9);
       const float code = 30.5f + static_cast<float>(random_below(r, 4));
       const float weight = extreme * sign(r) * code / candidate * (1.0f + 0x1p-23f * static_cast<float>(random_below(r, 9) - 4));
       return std::fabs(weight) < std::fabs(extreme) ? weight : 0.5f * weight;
     }},
    {"zero_scales",
     [](std::mt19937& r, int block, int i) {
       return normal(r) * (i / 16 == block % 16 ? 1.0f : i / 16 % 3 ? 1e-3f : 4e-3f);
     }},
    {"zero_groups", [](std::mt19937& r, int block, int i) { return (block >> i / 32 & 1) ? 0.0f : normal(r); }},
    {"wide", [](std::mt19937& r, int, int) { return sign(r) * std::pow(10.0f, 60.0f * uniform(r) - 30.0f); }},
    {"wide_groups",
     [](std::mt19937& r, int b, int i) {
       return normal(r) * std::pow(10.0f, static_cast<float>((7 * b + i / 16 * 5) % 61 - 30));
     }},
    {"huge", [](std::mt19937& r, int, int) { return sign(r) * 3.4e38f * uniform(r); }},
    {"any_bits", [](std::mt19937& r, int, int) { return finite_bits(r); }},
    {"one_sided", [](std::mt19937& r, int block, int) { return (block % 2 ? 5.0f : -5.0f) + uniform(r); }},
};

inline std::vector<float> adversarial_values(const Adversary& adversary, int blocks) {
  std::mt19937 random(static_cast<unsigned>(adversary.name[0]));
  std::vector<float> values;
  for (int block = 0; block < blocks; ++block)
    for (int i = 0; i < 256; ++i) values.push_back(adversary.value(random, block, i));
  return values;
}

}  // namespace crossover::testing
