// Q6_K: 256 weights in sixteen groups; an f16 scale for the block, an int8 one and 6-bit codes per group. The scale of
// a group is searched over nineteen candidates for the least squared error, weighted by x^2. Every operation rounds
// once, every sum runs in index order: the bytes depend on it.
#include <bit>
#include <cmath>
#include <cstring>

#include "kernels/formats/blocks.h"
#include "kernels/formats/rows.h"

namespace crossover {
namespace {

constexpr int kN = kQ6KGroupValues;

// Half to even by the addition of 1.5 * 2^23; beyond 2^22 the bits are what they are, as in ggml.
int nearest_int(float value) {
  return static_cast<int>(std::bit_cast<std::uint32_t>(value + 12582912.0f) & 0x7fffffu) - 0x400000;
}

int signed_code(float value) {
  const int code = nearest_int(value);
  return code < -32 ? -32 : code > 31 ? 31 : code;
}

struct Fit {
  float sum_xq, sum_qq;  // sums of w*x*q and w*q*q, w = x^2
};

Fit fit(const float* x, float inverse_scale) {
  Fit sums{0.0f, 0.0f};
  for (int i = 0; i < kN; ++i) {
    const float q = static_cast<float>(signed_code(inverse_scale * x[i]));
    const float w = x[i] * x[i];
    sums.sum_xq += w * x[i] * q;
    sums.sum_qq += w * q * q;
  }
  return sums;
}

// Codes 0..63 of one group and its scale.
float search_group(const float* x, std::uint8_t* codes) {
  float largest = 0.0f, extreme = 0.0f;
  for (int i = 0; i < kN; ++i) {
    if (std::fabs(x[i]) > largest) largest = std::fabs(x[i]), extreme = x[i];
  }
  if (largest < kQ6KZero) {
    std::memset(codes, 0, kN);
    return 0.0f;
  }
  float chosen = -32.0f / extreme;
  Fit sums = fit(x, chosen);
  float scale = sums.sum_qq != 0.0f ? sums.sum_xq / sums.sum_qq : 0.0f;
  float best = scale * sums.sum_xq;
  for (int step = -9; step <= 9; ++step) {
    if (step == 0) continue;
    const float candidate = -(32.0f + 0.1f * static_cast<float>(step)) / extreme;
    sums = fit(x, candidate);
    if (sums.sum_qq > 0.0f && sums.sum_xq * sums.sum_xq > best * sums.sum_qq) {
      chosen = candidate;
      scale = sums.sum_xq / sums.sum_qq;
      best = scale * sums.sum_xq;
    }
  }
  for (int i = 0; i < kN; ++i) codes[i] = static_cast<std::uint8_t>(signed_code(chosen * x[i]) + 32);
  return scale;
}

void pack(const std::uint8_t* codes, BlockQ6_K& block) {
  for (int half = 0; half < 2; ++half) {
    const std::uint8_t* c = codes + 128 * half;
    for (int l = 0; l < 32; ++l) {
      block.ql[64 * half + l] = static_cast<std::uint8_t>((c[l] & 15) | (c[l + 64] & 15) << 4);
      block.ql[64 * half + 32 + l] = static_cast<std::uint8_t>((c[l + 32] & 15) | (c[l + 96] & 15) << 4);
      block.qh[32 * half + l] =
          static_cast<std::uint8_t>(c[l] >> 4 | c[l + 32] >> 4 << 2 | c[l + 64] >> 4 << 4 | c[l + 96] >> 4 << 6);
    }
  }
}

void quantize_block(const float* x, BlockQ6_K& block) {
  std::uint8_t codes[256];
  float scales[kQ6KGroups];
  float largest = 0.0f, extreme = 0.0f;
  for (int g = 0; g < kQ6KGroups; ++g) {
    scales[g] = search_group(x + kN * g, codes + kN * g);
    if (std::fabs(scales[g]) > largest) largest = std::fabs(scales[g]), extreme = scales[g];
  }
  if (largest < kQ6KZero) {
    std::memset(&block, 0, sizeof block);
    return;
  }
  const float inverse = -128.0f / extreme;
  block.d = f32_to_f16(1.0f / inverse);
  const float d = f16_to_f32(block.d);
  for (int g = 0; g < kQ6KGroups; ++g) {
    const int scale = nearest_int(inverse * scales[g]);
    block.scales[g] = static_cast<std::int8_t>(scale < 127 ? scale : 127);
    const float step = d * static_cast<float>(block.scales[g]);
    if (step == 0.0f) continue;  // keeps the codes of the search
    for (int i = 0; i < kN; ++i) codes[kN * g + i] = static_cast<std::uint8_t>(signed_code(x[kN * g + i] / step) + 32);
  }
  pack(codes, block);
}

}  // namespace

void quantize_q6_k(const float* from, std::byte* to, std::int64_t values) {
  auto* block = reinterpret_cast<BlockQ6_K*>(to);
  for (std::int64_t start = 0; start < values; start += 256, ++block) quantize_block(from + start, *block);
}

void dequantize_q6_k(const std::byte* from, float* to, std::int64_t values) {
  const auto* block = reinterpret_cast<const BlockQ6_K*>(from);
  for (std::int64_t start = 0; start < values; start += 256, ++block) {
    const float d = f16_to_f32(block->d);
    for (int e = 0; e < 256; ++e) {
      const int half = e / 128, quarter = e % 128 / 32, l = e % 32;
      const int low = block->ql[64 * half + 32 * (quarter & 1) + l] >> (quarter >= 2 ? 4 : 0) & 15;
      const int high = block->qh[32 * half + l] >> 2 * quarter & 3;
      to[start + e] = d * static_cast<float>(block->scales[e / 16]) * static_cast<float>((low | high << 4) - 32);
    }
  }
}

}  // namespace crossover
