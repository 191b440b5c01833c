// Streaming softmax on bf16 operands: vdpbf16ps adds the products of a pair of neighbours in each of sixteen f32 lanes, twice the rate of
// an f32 fma. Queries, keys, weights and values are rounded to bf16; scores, exponentials and all sums are f32.
#include "kernels/cpu/micro.h"

#if defined(__AVX512BF16__)

#include "kernels/cpu/micro/bytes.h"
#include "kernels/cpu/micro/format_rows.h"
#include "kernels/cpu/micro/lane_sums.h"
#include "kernels/cpu/micro/transpose.h"
#include "kernels/formats/blocks.h"

namespace crossover::cpu::CROSSOVER_ISA {
namespace {

constexpr std::int64_t kPanel = kAttentionPanel;
constexpr std::int64_t kStep = 12;       // rows of a register tile: 24 of 32 registers accumulate
constexpr float kLargest = 1.0e38f;      // maxima are clamped to it, so that what is subtracted is finite
constexpr float kLog2E = 1.44269504f;

CROSSOVER_INLINE std::int64_t round_up(std::int64_t n, std::int64_t to) { return (n + to - 1) / to * to; }
CROSSOVER_INLINE std::int64_t least(std::int64_t a, std::int64_t b) { return a < b ? a : b; }

// ---- rows of a cache as bf16 ----

CROSSOVER_INLINE void store_32(std::uint16_t* to, F16 low, F16 high) {
  _mm512_storeu_si512(to, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high.v, low.v)));
}
CROSSOVER_INLINE void store_16(std::uint16_t* to, F16 x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x.v)));
}

// load_at(i) gives values i .. i + 15.
template <class LoadAt>
CROSSOVER_INLINE void narrow(std::uint16_t* to, std::int64_t dim, LoadAt load_at) {
  std::int64_t i = 0;
  for (; i + 32 <= dim; i += 32) store_32(to + i, load_at(i), load_at(i + 16));
  if (i < dim) store_16(to + i, load_at(i));
}

void narrow_f32(const std::byte* from, std::uint16_t* to, std::int64_t dim) {
  narrow(to, dim, [&](std::int64_t i) __attribute__((always_inline)) { return load(reinterpret_cast<const float*>(from) + i); });
}
void narrow_f16(const std::byte* from, std::uint16_t* to, std::int64_t dim) {
  narrow(to, dim, [&](std::int64_t i) __attribute__((always_inline)) { return load_halves(from + 2 * i); });
}
void copy_bf16(const std::byte* from, std::uint16_t* to, std::int64_t dim) { __builtin_memcpy(to, from, static_cast<std::size_t>(dim) * 2); }
void narrow_q8_0(const std::byte* from, std::uint16_t* to, std::int64_t dim) {
  const auto* block = reinterpret_cast<const BlockQ8_0*>(from);
  for (std::int64_t i = 0; i < dim; i += 32, ++block) {
    const F16 d = broadcast(half_to_float(block->d));
    store_32(to + i, to_float(widen_i8(block->q)) * d, to_float(widen_i8(block->q + 16)) * d);
  }
}
// Codes are looked up in a table of the 32 values that the block's scale and minimum allow.
template <class Block, int zero_code>
void narrow_small(const std::byte* from, std::uint16_t* to, std::int64_t dim) {
  const auto* block = reinterpret_cast<const Block*>(from);
  const F16 low_codes = to_float(I16{_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)}) - broadcast(zero_code);
  const F16 high_codes = low_codes + broadcast(16);
  for (std::int64_t i = 0; i < dim; i += 32, ++block) {
    const F16 d = broadcast(half_to_float(block->d));
    F16 low = low_codes * d, high = high_codes * d;
    if constexpr (requires { block->m; }) {
      const F16 m = broadcast(half_to_float(block->m));
      low = low + m, high = high + m;
    }
    const __m512i table = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high.v, low.v));
    const __m256i bytes = _mm256_cvtepu8_epi16(load_16_bytes(block->q));
    __m512i codes = _mm512_inserti64x4(_mm512_castsi256_si512(bytes), _mm256_srli_epi16(bytes, 4), 1);
    codes = _mm512_and_si512(codes, _mm512_set1_epi16(15));
    if constexpr (requires { block->qh; }) codes = _mm512_mask_add_epi16(codes, block->qh, codes, _mm512_set1_epi16(16));
    _mm512_storeu_si512(to + i, _mm512_permutexvar_epi16(codes, table));
  }
}
// A type that no cache has by default; through f32 in memory.
void narrow_q6_k(const std::byte* from, std::uint16_t* to, std::int64_t dim) {
  for (std::int64_t i = 0; i < dim; i += 256) {
    alignas(64) float values[256];
    dequantize_q6_k(from + i / 256 * static_cast<std::int64_t>(sizeof(BlockQ6_K)), values, 256);
    narrow_f32(reinterpret_cast<const std::byte*>(values), to + i, 256);
  }
}

void pack_query(const float* q, float scale, std::int64_t dim, std::uint16_t* to) {
  const F16 factor = broadcast(scale);
  narrow(to, dim, [&](std::int64_t i) __attribute__((always_inline)) { return factor * load(q + i); });
}

// ---- operands of a tile ----

// to[k * kPanel + r] = pair first_pair + k of row r for k < pairs <= 16, r < 16; rows from `count` on are zeros.
CROSSOVER_INLINE void turn_pairs(const std::uint16_t* rows, std::int64_t stride, std::int64_t count, std::int64_t pairs, float* to) {
  if (count >= 16 && pairs == 16) return transpose_16x16(reinterpret_cast<const float*>(rows), stride / 2, to, kPanel);
  alignas(64) float copy[16][16] = {}, turned[16][16];
  for (std::int64_t r = 0; r < 16 && r < count; ++r) __builtin_memcpy(copy[r], rows + r * stride, static_cast<std::size_t>(pairs) * 4);
  transpose_16x16(copy[0], 16, turned[0], 16);
  for (std::int64_t k = 0; k < pairs; ++k) store(to + k * kPanel, load(turned[k]));
}

// Panels [dim / 2][32 keys] of pairs; missing keys are zeros. Strides in values.
void pack_keys(const std::uint16_t* rows, std::int64_t stride, std::int64_t count, std::int64_t dim, std::uint16_t* panels) {
  for (std::int64_t first = 0; first < round_up(count, kPanel); first += 16) {
    auto* to = reinterpret_cast<float*>(panels + first / kPanel * kPanel * dim) + first % kPanel;
    for (std::int64_t k = 0; k < dim / 2; k += 16)
      turn_pairs(rows + first * stride + 2 * k, stride, count - first, least(dim / 2 - k, 16), to + k * kPanel);
  }
}

alignas(64) constexpr std::uint16_t kInterleaveLow[32] = {0, 32, 1, 33, 2,  34, 3,  35, 4,  36, 5,  37, 6,  38, 7,  39,
                                                          8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47};

// Columns 0 .. 15 and 16 .. 31 of two rows as pairs.
struct Pairs { __m512i low, high; };
CROSSOVER_INLINE Pairs interleave(__m512i even, __m512i odd) {
  const __m512i low = _mm512_load_si512(kInterleaveLow), high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
  return {_mm512_permutex2var_epi16(even, low, odd), _mm512_permutex2var_epi16(even, high, odd)};
}

CROSSOVER_INLINE __m512i load_whole(const std::uint16_t* row) { return _mm512_loadu_si512(row); }
CROSSOVER_INLINE __m512i load_half(const std::uint16_t* row) {  // sixteen values and sixteen zeros
  return _mm512_zextsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(row)));
}
CROSSOVER_INLINE __m512i load_32(const std::uint16_t* row, std::int64_t left) { return left >= 32 ? load_whole(row) : load_half(row); }

// Panels [ceil(count / 2)][32 features] of pairs of rows; a missing row is zeros.
void pack_values(const std::uint16_t* rows, std::int64_t stride, std::int64_t count, std::int64_t dim, std::uint16_t* panels) {
  const std::int64_t pairs = (count + 1) / 2;
  for (std::int64_t t = 0; t < count; t += 2) {
    const std::uint16_t* row = rows + t * stride;
    for (std::int64_t c = 0; c < dim; c += kPanel) {
      const __m512i odd = t + 1 < count ? load_32(row + stride + c, dim - c) : _mm512_setzero_si512();
      const Pairs p = interleave(load_32(row + c, dim - c), odd);
      std::uint16_t* to = panels + (c / kPanel * pairs + t / 2) * 2 * kPanel;
      _mm512_storeu_si512(to, p.low), _mm512_storeu_si512(to + kPanel, p.high);
    }
  }
}

// ---- products ----

// GCC 12 spills the accumulators of the intrinsic in large tiles.
CROSSOVER_INLINE void dot_pairs(__m512& total, __m512i a, __m512i b) { asm("vdpbf16ps %2, %1, %0" : "+v"(total) : "v"(a), "v"(b)); }

// c [rows, 32] = a * b, or shrink[r] * c + a * b: a [rows, depth] and b [depth, 32] of pairs; a_stride in pairs.
template <int rows, bool accumulate>
CROSSOVER_INLINE void product_step(const std::int32_t* a, std::int64_t a_stride, const std::uint16_t* b, std::int64_t depth, float* c,
                                   std::int64_t c_stride, const float* shrink) {
  __m512 total[rows][2];
#pragma GCC unroll 12
  for (int r = 0; r < rows; ++r) total[r][0] = total[r][1] = _mm512_setzero_ps();
  for (std::int64_t k = 0; k < depth; ++k) {
    const __m512i b0 = _mm512_loadu_si512(b + k * 2 * kPanel), b1 = _mm512_loadu_si512(b + k * 2 * kPanel + kPanel);
#pragma GCC unroll 12
    for (int r = 0; r < rows; ++r) {
      const __m512i x = _mm512_set1_epi32(a[r * a_stride + k]);
      dot_pairs(total[r][0], x, b0);
      dot_pairs(total[r][1], x, b1);
    }
  }
#pragma GCC unroll 12
  for (int r = 0; r < rows; ++r) {
    float* to = c + r * c_stride;
#pragma GCC unroll 2
    for (int v = 0; v < 2; ++v)
      _mm512_storeu_ps(to + 16 * v, accumulate ? _mm512_fmadd_ps(_mm512_set1_ps(shrink[r]), _mm512_loadu_ps(to + 16 * v), total[r][v]) : total[r][v]);
  }
}

template <int rows, bool accumulate>
void product_rows(std::int64_t count, const std::int32_t* a, std::int64_t a_stride, const std::uint16_t* b, std::int64_t depth, float* c,
                  std::int64_t c_stride, const float* shrink) {
  std::int64_t r = 0;
  for (; r + rows <= count; r += rows)
    product_step<rows, accumulate>(a + r * a_stride, a_stride, b, depth, c + r * c_stride, c_stride, shrink + (accumulate ? r : 0));
  if constexpr (rows > 1)
    if (r < count)
      product_rows<rows / 2, accumulate>(count - r, a + r * a_stride, a_stride, b, depth, c + r * c_stride, c_stride, shrink + (accumulate ? r : 0));
}

// ---- softmax ----

// 2^x for x in [-3e38, 0] to 4e-6, far below what rounding the result to bf16 leaves.
CROSSOVER_INLINE __m512 power_of_two(__m512 x) {
  const __m512 whole = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const __m512 f = _mm512_sub_ps(x, whole);
  __m512 p = _mm512_set1_ps(9.6181291e-3f);
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(5.5504109e-2f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(2.4022651e-1f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(6.9314718e-1f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.0f));
  return _mm512_scalef_ps(p, whole);
}

// Scores [width] of one row become bf16 weights at the front of the same memory, zero from `visible` on; returns the
// factor by which what was accumulated before has to shrink. A NaN score (inf - inf) counts as the smallest.
CROSSOVER_INLINE float weigh(float* scores, std::int64_t visible, std::int64_t width, float& row_max, float& row_sum) {
  auto* weights = reinterpret_cast<std::uint16_t*>(scores);
  const __m512 lowest = _mm512_set1_ps(-kLargest), highest = _mm512_set1_ps(kLargest);
  if (visible <= 0) {
    for (std::int64_t i = 0; i < width; i += 32) _mm512_storeu_si512(weights + i, _mm512_setzero_si512());
    return 1.0f;
  }
  __m512 top = lowest, other = lowest;
  std::int64_t i = 0;
  for (; i + 32 <= visible; i += 32) {
    top = _mm512_max_ps(_mm512_loadu_ps(scores + i), top);
    other = _mm512_max_ps(_mm512_loadu_ps(scores + i + 16), other);
  }
  for (; i < visible; i += 16) top = _mm512_mask_max_ps(top, first_lanes(visible - i), _mm512_loadu_ps(scores + i), top);
  const float block_max = _mm512_reduce_max_ps(_mm512_min_ps(_mm512_max_ps(top, other), highest));
  const float new_max = row_max > block_max ? row_max : block_max;
  const __m512 log2_e = _mm512_set1_ps(kLog2E), offset = _mm512_set1_ps(new_max);
  const auto weight = [&](std::int64_t at) __attribute__((always_inline)) {
    const __m512 s = _mm512_max_ps(_mm512_loadu_ps(scores + at), lowest);
    // Subtracted before it is multiplied: the largest score, however large, has to weigh 1.
    return power_of_two(_mm512_mul_ps(_mm512_min_ps(_mm512_sub_ps(s, offset), _mm512_setzero_ps()), log2_e));
  };
  __m512 total = _mm512_setzero_ps(), total_other = total;
  for (i = 0; i + 32 <= visible; i += 32) {
    const __m512 first = weight(i), second = weight(i + 16);
    total = _mm512_add_ps(total, first), total_other = _mm512_add_ps(total_other, second);
    _mm512_storeu_si512(weights + i, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(second, first)));
  }
  for (; i < width; i += 32) {
    const __m512 first = _mm512_maskz_mov_ps(first_lanes(visible - i), weight(i));
    const __m512 second = _mm512_maskz_mov_ps(first_lanes(visible - i - 16), weight(i + 16));
    total = _mm512_add_ps(total, first), total_other = _mm512_add_ps(total_other, second);
    _mm512_storeu_si512(weights + i, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(second, first)));
  }
  const float shrink = __builtin_expf(row_max - new_max);  // 0 when nothing was seen before: row_max is -inf
  row_sum = row_sum * shrink + _mm512_reduce_add_ps(_mm512_add_ps(total, total_other));
  row_max = new_max;
  return shrink;
}

CROSSOVER_INLINE std::int64_t most_visible(const std::int64_t* visible, std::int64_t rows, std::int64_t count) {
  std::int64_t most = 0;
  for (std::int64_t r = 0; r < rows; ++r) most = visible[r] > most ? visible[r] : most;
  return least(most, count);
}

void tile(const std::uint16_t* q, std::int64_t q_stride, std::int64_t rows, std::int64_t dim, const std::uint16_t* key_panels,
          const std::uint16_t* value_panels, std::int64_t count, const std::int64_t* visible, float* row_max, float* row_sum, float* accumulator,
          std::int64_t accumulator_stride, float* scratch) {
  const std::int64_t seen = most_visible(visible, rows, count);
  if (seen == 0) return;
  const std::int64_t width = round_up(seen, kPanel), stride = kPairBlockKeys + kPanel;  // not a power of two: rows would share cache sets
  float shrink[kPairTileRows];
  for (std::int64_t first = 0; first < seen; first += kPanel)
    product_rows<kStep, false>(rows, reinterpret_cast<const std::int32_t*>(q), q_stride / 2, key_panels + first * dim, dim / 2, scratch + first,
                               stride, nullptr);
  for (std::int64_t r = 0; r < rows; ++r) shrink[r] = weigh(scratch + r * stride, least(visible[r], seen), width, row_max[r], row_sum[r]);
  const std::int64_t pairs = (count + 1) / 2;
  for (std::int64_t c = 0; c < dim; c += kPanel)
    product_rows<kStep, true>(rows, reinterpret_cast<const std::int32_t*>(scratch), stride, value_panels + c * 2 * pairs, (seen + 1) / 2,
                              accumulator + c, accumulator_stride, shrink);
}

// ---- few rows: keys and values in the order of the cache ----

// scores[r * stride + n] for four rows (or fewer) and four keys (or fewer): sixteen sums at once.
CROSSOVER_INLINE void dots(const std::uint16_t* q, std::int64_t q_stride, std::int64_t rows, const std::uint16_t* keys, std::int64_t key_stride,
                           std::int64_t count, std::int64_t dim, float* scores, std::int64_t stride) {
  const std::uint16_t *row[4], *key[4];
  for (int i = 0; i < 4; ++i) row[i] = q + (i < rows ? i : 0) * q_stride, key[i] = keys + (i < count ? i : 0) * key_stride;
  __m512 total[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) total[i] = _mm512_setzero_ps();
  const auto step = [&](std::int64_t d, auto load_at) __attribute__((always_inline)) {
    __m512i k[4];
#pragma GCC unroll 4
    for (int n = 0; n < 4; ++n) k[n] = load_at(key[n] + d);
#pragma GCC unroll 4
    for (int r = 0; r < 4; ++r) {
      const __m512i x = load_at(row[r] + d);
#pragma GCC unroll 4
      for (int n = 0; n < 4; ++n) dot_pairs(total[4 * r + n], x, k[n]);
    }
  };
  std::int64_t d = 0;
  for (; d + 32 <= dim; d += 32) step(d, load_whole);
  if (d < dim) step(d, load_half);
  F16 lanes[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) lanes[i].v = total[i];
  float sums[16];
  store(sums, sums_of(lanes));
  for (std::int64_t r = 0; r < rows && r < 4; ++r)
    for (std::int64_t n = 0; n < count && n < 4; ++n) scores[r * stride + n] = sums[4 * r + n];
}

void score_rows(const std::uint16_t* q, std::int64_t q_stride, std::int64_t rows, const std::uint16_t* keys, std::int64_t key_stride,
                std::int64_t count, std::int64_t dim, float* scores, std::int64_t stride) {
  for (std::int64_t n = 0; n < count; n += 4)
    for (std::int64_t r = 0; r < rows; r += 4)
      dots(q + r * q_stride, q_stride, rows - r, keys + n * key_stride, key_stride, count - n, dim, scores + r * stride + n, stride);
}

void weigh_rows(float* scores, std::int64_t stride, std::int64_t rows, std::int64_t count, const std::int64_t* visible, float* row_max,
                float* row_sum) {
  for (std::int64_t r = 0; r < rows; ++r)
    weigh(scores + r * stride, least(visible[r], count), round_up(count, kPanel), row_max[r], row_sum[r]);
}

// c [rows, 32 columns] += weights * values over `pairs` pairs of keys; the last pair lacks its second key when `odd`.
template <int rows, class LoadAt>
CROSSOVER_INLINE void accumulate_step(const std::int32_t* weights, std::int64_t stride, const std::uint16_t* values, std::int64_t value_stride,
                                      std::int64_t pairs, bool odd, LoadAt load_at, float* c, std::int64_t c_stride) {
  __m512 total[rows][2];
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r) total[r][0] = _mm512_loadu_ps(c + r * c_stride), total[r][1] = _mm512_loadu_ps(c + r * c_stride + 16);
  for (std::int64_t k = 0; k < pairs; ++k) {
    const std::uint16_t* row = values + 2 * k * value_stride;
    const Pairs b = interleave(load_at(row), odd && k + 1 == pairs ? _mm512_setzero_si512() : load_at(row + value_stride));
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
      const __m512i x = _mm512_set1_epi32(weights[r * stride + k]);
      dot_pairs(total[r][0], x, b.low);
      dot_pairs(total[r][1], x, b.high);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r) _mm512_storeu_ps(c + r * c_stride, total[r][0]), _mm512_storeu_ps(c + r * c_stride + 16, total[r][1]);
}

template <int rows>
CROSSOVER_INLINE void accumulate_all(const std::int32_t* weights, std::int64_t stride, std::int64_t count, const std::uint16_t* values,
                                     std::int64_t value_stride, std::int64_t keys, std::int64_t dim, float* c, std::int64_t c_stride) {
  std::int64_t r = 0;
  for (; r + rows <= count; r += rows)
    for (std::int64_t d = 0; d < dim; d += 32) {
      const auto step = [&](auto load_at) __attribute__((always_inline)) {
        accumulate_step<rows>(weights + r * stride, stride, values + d, value_stride, (keys + 1) / 2, keys % 2 != 0, load_at,
                              c + r * c_stride + d, c_stride);
      };
      if (d + 32 <= dim) step(load_whole);
      else step(load_half);
    }
  if constexpr (rows > 1)
    if (r < count) accumulate_all<(rows > 6 ? 6 : rows / 2)>(weights + r * stride, stride, count - r, values, value_stride, keys, dim, c + r * c_stride, c_stride);
}

void accumulate_rows(const float* weights, std::int64_t stride, std::int64_t first_key, std::int64_t rows, const std::uint16_t* values,
                     std::int64_t value_stride, std::int64_t count, std::int64_t dim, float* accumulator, std::int64_t accumulator_stride) {
  accumulate_all<8>(reinterpret_cast<const std::int32_t*>(weights) + first_key / 2, stride, rows, values, value_stride, count, dim, accumulator,
                    accumulator_stride);
}

}  // namespace

extern const AttentionPairsMicro attention_pairs;
const AttentionPairsMicro attention_pairs = {
    {narrow_f32, narrow_f16, copy_bf16, narrow_q8_0, narrow_q6_k, narrow_small<BlockQ4_0, 8>, narrow_small<BlockQ4_1, 0>,
     narrow_small<BlockQ5_0, 16>, narrow_small<BlockQ5_1, 0>},
    pack_query, pack_keys, pack_values, tile, score_rows, weigh_rows, accumulate_rows};

}  // namespace crossover::cpu::CROSSOVER_ISA

#endif
