// Many tokens times Q6_K weights in panels on AMX: 256 columns of a panel at a time become bf16 in the L1 cache, then 32 tokens times 32
// rows are four tiles of f32 sums.
//
// Why bf16. The scales of Q6_K and of int8 activations change every 16 and 32 values, and a tile product takes its 16 cycles however
// short the sum. Exact integers would need two planes of codes times scales and sums stored for every 32 values: 25 ns for
// 16 x 16 x 32 by the figures below, 0.65 TOP/s, hardly more than vpdpbusd with scales (8/10 of 0.65). One scale per 256 activations
// would do, at 1.7 times the error. In bf16 the scales go into the weights, and sums stay in tiles.
//
// The bound, by figures measured on one Sapphire Rapids core with another program: tdpbf16ps 2.85 TFLOP/s, 1.45 to 1.59 with
// activations from L2. Unpacking takes about 5 vector instructions for 16 weights, some 0.06 ns a weight, so at least 0.06 + 2 T / 1590 ns
// for T tokens: 1.0 TFLOP/s at 128 tokens, 1.45 at 512. This file itself has been run on no such core yet.
#include "kernels/cpu/micro/panel_q6_k.h"
#include "kernels/cpu/micro/simd.h"
#include "kernels/cpu/tiles/panel_tiles.h"
#include "kernels/cpu/tiles/tiles.h"

namespace crossover::cpu::CROSSOVER_ISA {
namespace {

constexpr std::int64_t kSide = 16;              // tokens or weight rows of a tile
constexpr std::int64_t kStep = 32;              // values along the sum of a tile
constexpr std::int64_t kSteps = 256 / kStep;    // of a block
constexpr std::int64_t kBlockTokens = 2 * kSide;
constexpr TileConfig kTiles = full_tiles();

// Pairs of bf16 along the sum, the first in the low half: of activations [token][pair], of weights [pair][weight row].
struct alignas(64) Tile { std::uint32_t pair[kSide][16]; };
struct WeightStep { Tile half[2]; };            // rows 0 .. 15 and 16 .. 31 of a panel
static_assert(sizeof(Tile) == 1024 && kPanelRows == 2 * kSide);

struct Scratch {
  WeightStep weights[kSteps];
  alignas(64) float sums[kBlockTokens][kPanelRows];
};

#if defined(__AVX512BF16__)
CROSSOVER_INLINE void store_pairs_in_order(const float* x, std::uint32_t* to) {
  _mm512_storeu_si512(to, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(_mm512_loadu_ps(x + 16), _mm512_loadu_ps(x))));
}

// Values `first` and first + 1 of each row's four codes.
template <int first>
CROSSOVER_INLINE void store_weights(const std::uint8_t* codes, const float* factor, std::uint32_t* to) {
  const __m512i quads = _mm512_load_si512(codes), byte = _mm512_set1_epi32(255);
  const __m512 f = _mm512_load_ps(factor), zero = _mm512_mul_ps(f, _mm512_set1_ps(-32.0f));  // exact, so fused it is (code - 32) * f
  const __m512 even = _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_and_si512(_mm512_srli_epi32(quads, 8 * first), byte)), f, zero);
  const __m512 odd = _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_and_si512(_mm512_srli_epi32(quads, 8 * first + 8), byte)), f, zero);
  const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512i neighbours = _mm512_or_si512(lanes, _mm512_slli_epi32(_mm512_add_epi32(lanes, _mm512_set1_epi32(16)), 16));
  const __m512i halves = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(odd, even));  // sixteen of the one, then of the other
  _mm512_store_si512(to, _mm512_permutexvar_epi16(neighbours, halves));
}
#else
// To nearest, ties to even; what is not a number stays so.
CROSSOVER_INLINE std::uint32_t bf16_of(float x) {
  const auto bits = __builtin_bit_cast(std::uint32_t, x);
  if (x != x) return bits >> 16 | 0x40;
  return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

CROSSOVER_INLINE void store_pairs_in_order(const float* x, std::uint32_t* to) {
  for (int p = 0; p < 16; ++p) to[p] = bf16_of(x[2 * p]) | bf16_of(x[2 * p + 1]) << 16;
}

template <int first>
CROSSOVER_INLINE void store_weights(const std::uint8_t* codes, const float* factor, std::uint32_t* to) {
  for (int r = 0; r < kSide; ++r)
    to[r] = bf16_of(static_cast<float>(codes[4 * r + first] - 32) * factor[r]) |
            bf16_of(static_cast<float>(codes[4 * r + first + 1] - 32) * factor[r]) << 16;
}
#endif

void widen_block(const PanelQ6_K& from, WeightStep* to) {
  alignas(64) PanelQ6_K::Factors factors;
  alignas(64) float d[kPanelRows], factor[kPanelRows];
  alignas(64) std::uint8_t code[4][2][64];  // [quad][half][4 * row + i]
  copy_factors(from, factors);
  for (int v = 0; v < kPanelVectors; ++v) store_floats(d + kPanelLanes * v, halves(factors.d + kPanelLanes * v));
  for (int g = 0; g < 16; ++g) {
    for (int r = 0; r < kPanelRows; ++r) factor[r] = d[r] * static_cast<float>(factors.scales[g][r]);
    for (int v = 0; v < kPanelVectors; ++v) {
      Bytes quad[4];
      unpack_quads(from.half[g], v, quad);
      for (int q = 0; q < 4; ++q) store_bytes(code[q][0] + kVectorBytes * v, quad[q]);
    }
    for (int half = 0; half < 2; ++half)
      for (int q = 0; q < 4; ++q) {
        std::uint32_t(*pair)[16] = to[g / 2].half[half].pair + 8 * (g % 2) + 2 * q;
        store_weights<0>(code[q][half], factor + kSide * half, pair[0]);
        store_weights<2>(code[q][half], factor + kSide * half, pair[1]);
      }
  }
}

// sums [16 or 32][32] = or += one block of 256 columns; a: the tiles of the first 16 tokens, and a_stride tiles on those of the others.
template <bool kTwo>
CROSSOVER_INLINE void multiply_block(Tiles& unit, const WeightStep* weights, const Tile* a, std::int64_t a_stride, bool accumulate, float* sums,
                                     std::int64_t stride) {
  const std::int64_t row = stride * 4;
  if (accumulate) {
    unit.load<0>(sums, row), unit.load<1>(sums + kSide, row);
    if constexpr (kTwo) unit.load<2>(sums + kSide * stride, row), unit.load<3>(sums + kSide * stride + kSide, row);
  } else {
    unit.zero<0>(), unit.zero<1>();
    if constexpr (kTwo) unit.zero<2>(), unit.zero<3>();
  }
  for (std::int64_t s = 0; s < kSteps; ++s) {
    unit.load<4>(a + s, 64), unit.load<6>(&weights[s].half[0], 64);
    unit.add_products<0, 4, 6>();
    unit.load<7>(&weights[s].half[1], 64);
    unit.add_products<1, 4, 7>();
    if constexpr (!kTwo) continue;
    unit.load<5>(a + a_stride + s, 64);
    unit.add_products<2, 5, 6>();
    unit.add_products<3, 5, 7>();
  }
  unit.store<0>(sums, row), unit.store<1>(sums + kSide, row);
  if constexpr (kTwo) unit.store<2>(sums + kSide * stride, row), unit.store<3>(sums + kSide * stride + kSide, row);
}

// The same for `tokens` <= 32 tokens and `rows` <= 32 weight rows of out; sums: room for all 32 by 32.
void multiply_part(Tiles& unit, const WeightStep* weights, const Tile* a, std::int64_t a_stride, std::int64_t tokens, std::int64_t rows, bool accumulate,
                   float* out, std::int64_t out_stride, float (*sums)[kPanelRows]) {
  if (tokens == kBlockTokens && rows == kPanelRows) return multiply_block<true>(unit, weights, a, a_stride, accumulate, out, out_stride);
  for (std::int64_t t = 0; accumulate && t < tokens; ++t)
    for (std::int64_t r = 0; r < rows; ++r) sums[t][r] = out[t * out_stride + r];
  if (tokens > kSide) multiply_block<true>(unit, weights, a, a_stride, accumulate, sums[0], kPanelRows);
  else multiply_block<false>(unit, weights, a, a_stride, accumulate, sums[0], kPanelRows);
  for (std::int64_t t = 0; t < tokens; ++t)
    for (std::int64_t r = 0; r < rows; ++r) out[t * out_stride + r] = sums[t][r];
}

std::int64_t tile_bytes(std::int64_t dim) { return dim / kStep * static_cast<std::int64_t>(sizeof(Tile)); }

void pack_tile(const float* const* rows, std::int64_t tokens, std::int64_t dim, std::byte* memory) {
  auto* tile = reinterpret_cast<Tile*>(memory);
  for (std::int64_t k = 0; k < dim; k += kStep, ++tile) {
    for (std::int64_t t = 0; t < tokens; ++t) store_pairs_in_order(rows[t] + k, tile->pair[t]);
    if (tokens < kSide) __builtin_memset(tile->pair[tokens], 0, static_cast<std::size_t>(kSide - tokens) * sizeof tile->pair[0]);
  }
}

std::int64_t scratch_bytes() { return sizeof(Scratch); }

void gemm(const std::byte* panel, std::int64_t rows, std::int64_t dim, const std::byte* tiles, std::int64_t tokens, float* out, std::int64_t out_stride,
          std::byte* memory) {
  const auto* from = reinterpret_cast<const PanelQ6_K*>(panel);
  const auto* a = reinterpret_cast<const Tile*>(tiles);
  auto& scratch = *reinterpret_cast<Scratch*>(memory);
  __builtin_memset(scratch.sums, 0, sizeof scratch.sums);  // tokens and rows that are not there are added up as well
  Tiles unit(kTiles);
  const std::int64_t steps = dim / kStep;
  for (std::int64_t b = 0; b < dim / 256; ++b) {
    widen_block(from[b], scratch.weights);
    for (std::int64_t t = 0; t < tokens; t += kBlockTokens)
      multiply_part(unit, scratch.weights, a + t / kSide * steps + b * kSteps, steps, tokens - t < kBlockTokens ? tokens - t : kBlockTokens, rows, b > 0,
                    out + t * out_stride, out_stride, scratch.sums);
  }
}

// Four independent sums hide most of the latency of a product; all products are zeros.
float chains(std::int64_t steps) {
  Tile sums{};
  Tiles unit(kTiles);
  unit.zero<0>(), unit.zero<1>(), unit.zero<2>(), unit.zero<3>(), unit.zero<4>(), unit.zero<5>();
  for (std::int64_t i = 0; i < steps; ++i) {
    unit.add_products<0, 4, 5>(), unit.add_products<1, 4, 5>();
    unit.add_products<2, 4, 5>(), unit.add_products<3, 4, 5>();
  }
  unit.store<0>(&sums, 64);
  return __builtin_bit_cast(float, sums.pair[0][0]);
}

// Whole numbers from -3 to 3, unlike in every place, whose sums are exact.
bool work() {
  Tile a, b;
  const auto value = [](std::int64_t i, std::int64_t k) { return static_cast<float>((3 * i + 5 * k + i * k) % 7 - 3); };
  const auto pair = [](float x, float y) { return __builtin_bit_cast(std::uint32_t, x) >> 16 | (__builtin_bit_cast(std::uint32_t, y) & 0xffff0000u); };
  for (std::int64_t i = 0; i < kSide; ++i)
    for (std::int64_t p = 0; p < 16; ++p) {
      a.pair[i][p] = pair(value(i, 2 * p), value(i, 2 * p + 1));
      b.pair[p][i] = pair(value(i + 1, 2 * p), value(i + 1, 2 * p + 1));
    }
  alignas(64) float sums[kSide][16];
  for (auto& row : sums)
    for (float& sum : row) sum = 1.0f;
  {
    Tiles unit(kTiles);
    unit.load<1>(sums, 64), unit.load<5>(&a, 64), unit.load<6>(&b, 64);
    unit.add_products<1, 5, 6>();
    unit.store<1>(sums, 64);
  }
  for (std::int64_t m = 0; m < kSide; ++m)
    for (std::int64_t n = 0; n < kSide; ++n) {
      float expected = 1.0f;
      for (std::int64_t k = 0; k < kStep; ++k) expected += value(m, k) * value(n + 1, k);
      if (sums[m][n] != expected) return false;
    }
  return true;
}

}  // namespace

extern const TileMicro tiles;
const TileMicro tiles = {{"amx-bf16-panels", kBlockTokens, kSide, tile_bytes, pack_tile, scratch_bytes, gemm}, {4 * 16 * 16 * 32 * 2, chains}, work};

}  // namespace crossover::cpu::CROSSOVER_ISA
