// 16-bit tiles of keys, values and queries, 256 values a row, for the tensor cores: halves, or bf16 where a cache is bf16. For .cu files.
#pragma once

#include "kernels/cuda/attention_rows.h"
#include "kernels/cuda/cache_values.h"

namespace crossover::cuda {

// Halves keep 11 bits of what a cache holds, bf16 8: only a bf16 cache, whose range halves lack, is worth the loss. Queries beyond a half's range
// (65504, times 1 / (scale * log2 e)) count as its largest value.
template <class E>
__device__ __forceinline__ unsigned pack(float low, float high);
template <>
__device__ __forceinline__ unsigned pack<Half>(float low, float high) { return pack_half(low, high); }
template <>
__device__ __forceinline__ unsigned pack<Bf16>(float low, float high) { return pack_bf16(low, high); }

template <class E>
__device__ __forceinline__ void multiply(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  if constexpr (std::is_same_v<E, Half>) mma_half(d, a, b);
  else mma_bf16(d, a, b);
}

template <class E>
constexpr DType kTypeOf = std::is_same_v<E, Half> ? DType::kF16 : DType::kBF16;

inline constexpr int kTileRowBytes = static_cast<int>(kAttentionHeadDim) * 2, kTilePieces = kTileRowBytes / 16;

// Where piece `piece` (eight values, 16 bytes) of row `row` lies: the pieces of a row are permuted by the row's number, so that the eight rows of
// a matrix that ldmatrix reads at one column lie in different banks; rows of 512 bytes would share one.
__device__ __forceinline__ int tile_at(int row, int piece) { return row * kTileRowBytes + (piece ^ (row & 7)) * 16; }

// The address that a lane gives ldmatrix for its row and the pieces 2 step + odd of a loop over steps of 16 values: four addresses, the others are
// 128 bytes further each four steps.
struct TileLane {
  const std::uint8_t* at[4];
  __device__ __forceinline__ TileLane(const std::uint8_t* tile, int row, int odd) {
#pragma unroll
    for (int i = 0; i < 4; ++i) at[i] = tile + tile_at(row, 2 * i + odd);
  }
  __device__ __forceinline__ const std::uint8_t* step(int s) const { return at[s % 4] + s / 4 * 128; }
};

template <class E>
__device__ __forceinline__ uint4 pack_eight(const float (&x)[kLaneValues]) {
  return make_uint4(pack<E>(x[0], x[1]), pack<E>(x[2], x[3]), pack<E>(x[4], x[5]), pack<E>(x[6], x[7]));
}

__device__ __forceinline__ void limit_to_half(float (&x)[kLaneValues]) {
  constexpr float kLargest = 65504.0f;
#pragma unroll
  for (int j = 0; j < kLaneValues; ++j) x[j] = fminf(fmaxf(x[j], -kLargest), kLargest);
}

// A warp's: a query row into its tile.
template <class E>
__device__ __forceinline__ void store_query(std::uint8_t* tile, int row, float (&x)[kLaneValues]) {
  if constexpr (std::is_same_v<E, Half>) limit_to_half(x);
  *reinterpret_cast<uint4*>(tile + tile_at(row, lane_of_thread())) = pack_eight<E>(x);
}

// Codes to halves: 0x6400 above a byte is 1024 + byte, exactly; less 1024 + zero it is the code, and one more FMA rounds d * code + m. Two values
// an instruction: seven for four values where f32 would take fourteen.
__device__ __forceinline__ uint4 halves_of(const BlockPart& b) {
  const unsigned d = b.d | static_cast<unsigned>(b.d) << 16, m = b.m | static_cast<unsigned>(b.m) << 16;
  const unsigned one = 0x3c003c00u, zero = static_cast<unsigned>(0xe400 + b.zero) * 0x10001u;  // -(1024 + zero): a half's steps are 1 up to 2048
  unsigned pairs[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const unsigned biased = __byte_perm(b.codes[i / 2], 0x64646464u, i % 2 == 0 ? 0x4140u : 0x4342u);
    pairs[i] = fma_halves(fma_halves(biased, one, zero), d, m);
  }
  return make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
}

// Piece `piece` of a head's row of any type of in_halves.
template <class E>
__device__ __forceinline__ uint4 piece_of(DType type, const std::uint8_t* row, int piece) {
  if constexpr (std::is_same_v<E, Half>)
    if (type != DType::kF16) return halves_of(block_part(type, row, piece));
  float x[kLaneValues];
  read_piece(type, row, piece, kLaneValues, x);
  return pack_eight<E>(x);
}

}  // namespace crossover::cuda
