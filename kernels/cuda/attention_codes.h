// Fragments for tensor cores straight from the blocks of quantized rows in shared memory, without a tile of halves in between: a tile would be
// written and read again, and for 4-bit rows shared memory would then be slower than DRAM. For .cu files.
//
// Keys (rows of A): lane t of a quad takes values 4t .. 4t + 3 of each sixteen, one word, where m16n8k16 has columns 2t, 2t + 1 and 2t + 8, 2t + 9:
// the sixteen in another order, in which queries are stored too. Eight rows 68 (q8_0), 36 (q4_0) or 44 (q5_0) words apart reach different banks; 40
// (q4_1) and 48 (q5_1) half and a quarter of them.
// Values (A is V transposed): lanes 4g .. 4g + 3 take block g of two times two rows, and pairs of rows are interleaved by bytes. Row g of the i-th
// sixteen rows of O^T is then value 32g + 2i of the head, row g + 8 value 32g + 2i + 1.
#pragma once

#include "kernels/cuda/attention_halves.h"

namespace crossover::cuda {

enum class Codes : std::uint8_t { kBytes, kNibbles, kFive };

// A block of 32: d, then m or the fifth bits where there are such, then the codes. Offsets in bytes; zero: the code of the value 0.
struct CodeFormat {
  Codes codes;
  int block_bytes, codes_at, fifth_at, zero;
  bool minimum;
};
inline CodeFormat code_format(DType type) {
  switch (type) {
    case DType::kQ8_0: return {Codes::kBytes, sizeof(BlockQ8_0), 2, 0, 128, false};
    case DType::kQ4_0: return {Codes::kNibbles, sizeof(BlockQ4_0), 2, 0, 8, false};
    case DType::kQ4_1: return {Codes::kNibbles, sizeof(BlockQ4_1), 4, 0, 0, true};
    case DType::kQ5_0: return {Codes::kFive, sizeof(BlockQ5_0), 6, 2, 16, false};
    case DType::kQ5_1: return {Codes::kFive, sizeof(BlockQ5_1), 8, 4, 0, true};
    default: return {};  // no blocks
  }
}

// Words at even addresses. Rows begin and end at multiples of four and have multiples of four bytes, so that the words around one belong to the same
// row, and whether a place in a block is a multiple of four is the same for all rows.
struct Words {
  bool odd;
  unsigned pick;
  __device__ __forceinline__ explicit Words(const std::uint8_t* at) : odd(reinterpret_cast<std::uintptr_t>(at) & 2), pick(odd ? 0x5432u : 0x3210u) {}
  __device__ __forceinline__ unsigned at(const std::uint8_t* place) const {
    const unsigned* const words = reinterpret_cast<const unsigned*>(place - (odd ? 2 : 0));
    return __byte_perm(words[0], odd ? words[1] : 0u, pick);
  }
};

// Codes of the values 4t .. 4t + 3 and 16 + 4t .. of a block, a byte each. words: of the place of the codes.
template <Codes kCodes>
__device__ __forceinline__ void codes_of(const CodeFormat& f, const Words& words, const std::uint8_t* block, int t, unsigned (&codes)[2]) {
  const unsigned low = words.at(block + f.codes_at + 4 * t);
  if constexpr (kCodes == Codes::kBytes) {
    codes[0] = low ^ 0x80808080u, codes[1] = words.at(block + f.codes_at + 16 + 4 * t) ^ 0x80808080u;
  } else {
    codes[0] = low & 0x0f0f0f0fu, codes[1] = low >> 4 & 0x0f0f0f0fu;
  }
  if constexpr (kCodes == Codes::kFive)
#pragma unroll
    for (int h = 0; h < 2; ++h) codes[h] |= spread_bits(load_2(block + f.fifth_at + 2 * h) >> 4 * t & 0xfu) << 4;
}

// Calls body with the kind of codes as a constant: one branch for a whole step instead of several for each word.
template <class Body>
__device__ __forceinline__ void with_codes(const CodeFormat& f, Body body) {
  if (f.codes == Codes::kBytes) body(std::integral_constant<Codes, Codes::kBytes>());
  else if (f.codes == Codes::kNibbles) body(std::integral_constant<Codes, Codes::kNibbles>());
  else body(std::integral_constant<Codes, Codes::kFive>());
}

struct ScalePair { unsigned d, m; };  // halves: of the two values of a pair

__device__ __forceinline__ ScalePair scales_of(const CodeFormat& f, const std::uint8_t* low, const std::uint8_t* high) {
  return {load_2(low) | load_2(high) << 16, f.minimum ? load_2(low + 2) | load_2(high + 2) << 16 : 0u};
}

// Bytes 0, 1 (or 2, 3) of four codes as halves d * (code - zero) + m; see halves_of.
__device__ __forceinline__ unsigned pair_of(unsigned codes, bool high, unsigned zero, const ScalePair& s) {
  const unsigned biased = __byte_perm(codes, 0x64646464u, high ? 0x4342u : 0x4140u);
  return fma_halves(fma_halves(biased, 0x3c003c00u, zero), s.d, s.m);
}
__device__ __forceinline__ unsigned zero_pair(const CodeFormat& f) { return static_cast<unsigned>(0xe400 + f.zero) * 0x10001u; }

// A warp's: a query row in the order of the keys' fragments.
__device__ __forceinline__ void store_query_by_quads(std::uint8_t* tile, int row, float (&x)[kLaneValues]) {
  const int lane = lane_of_thread();
  limit_to_half(x);
#pragma unroll
  for (int i = 0; i < kLaneValues / 2; ++i)
    *reinterpret_cast<unsigned*>(tile + tile_at(row, lane / 2 * 2 + i % 2) + (lane % 2 * 4 + i / 2 * 2) * 2) = pack_half(x[2 * i], x[2 * i + 1]);
}

// Fragments of block `number` of the keys g and g + 8: [half of the block].
template <Codes kCodes>
__device__ __forceinline__ void key_fragments(const CodeFormat& f, const std::uint8_t* rows, int row_bytes, int number, unsigned (&a)[2][4]) {
  const int lane = computed_here(lane_of_thread()), g = lane / 4, t = lane % 4;
  const unsigned zero = zero_pair(f);
  const std::uint8_t* const first = rows + g * row_bytes + number * f.block_bytes;
  const Words words(first + f.codes_at);
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const std::uint8_t* const block = first + 8 * r * row_bytes;
    const ScalePair scale = scales_of(f, block, block);
    unsigned codes[2];
    codes_of<kCodes>(f, words, block, t, codes);
#pragma unroll
    for (int h = 0; h < 2; ++h) a[h][r] = pair_of(codes[h], false, zero, scale), a[h][r + 2] = pair_of(codes[h], true, zero, scale);
  }
}

// Calls multiply(i, fragment) for the sixteen fragments of the values of 16 keys.
template <Codes kCodes, class Multiply>
__device__ __forceinline__ void for_value_fragments(const CodeFormat& f, const std::uint8_t* rows, int row_bytes, Multiply multiply) {
  const int lane = computed_here(lane_of_thread()), g = lane / 4, t = lane % 4;
  const unsigned zero = zero_pair(f);
  const std::uint8_t* const first = rows + 2 * t * row_bytes + g * f.block_bytes;
  const Words words(first + f.codes_at);
  const ScalePair scales[2] = {scales_of(f, first, first + row_bytes), scales_of(f, first + 8 * row_bytes, first + 9 * row_bytes)};
#pragma unroll
  for (int quarter = 0; quarter < 4; ++quarter) {
    __syncwarp();  // loads of later quarters, moved ahead, would not fit the registers
    unsigned codes[4][2];  // of rows 2t, 2t + 1, 2t + 8, 2t + 9
#pragma unroll
    for (int r = 0; r < 4; ++r) codes_of<kCodes>(f, words, first + (r % 2 + r / 2 * 8) * row_bytes, quarter, codes[r]);
#pragma unroll
    for (int h = 0; h < 2; ++h)
#pragma unroll
      for (int upper = 0; upper < 2; ++upper) {
        unsigned a[4];
#pragma unroll
        for (int pair = 0; pair < 2; ++pair) {
          const unsigned both = __byte_perm(codes[2 * pair][h], codes[2 * pair + 1][h], upper ? 0x7362u : 0x5140u);
          a[2 * pair] = pair_of(both, false, zero, scales[pair]), a[2 * pair + 1] = pair_of(both, true, zero, scales[pair]);
        }
        multiply(2 * (4 * h + quarter) + upper, a);
      }
  }
}

}  // namespace crossover::cuda
