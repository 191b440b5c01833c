// Products of small matrices by a warp in two precisions behind one set of names: bf16 operands on tensor cores, and f32 by FMA, for whoever
// asks for exact products and for tests (the algebra around the products is then held to f32's tolerance). For .cu files.
//
// A warp multiplies a left operand [16, 16] and a right one [16, 16] into f32 sums of the shape of two mma.m16n8k16 results: with
// g = lane / 4, t = lane % 4, sum[n][0], [1] lie at row g, columns 8n + 2t, 8n + 2t + 1, and [2], [3] at row g + 8.
// Tile is a left operand in global memory in the order of the fragments: 16 bytes a lane, 512 a warp, one load, no shared memory. Sums turn
// into tiles without moving between lanes. A left operand is used by one warp only, so staging it in shared memory would gain nothing.
#pragma once

#include "kernels/cuda/view.h"

namespace crossover::cuda {

using TileSums = float[2][4];  // of [16, 16]

__device__ __forceinline__ int tile_row() { return static_cast<int>(threadIdx.x) % kWarp / 4; }        // and 8 more
__device__ __forceinline__ int tile_column() { return static_cast<int>(threadIdx.x) % 4 * 2; }         // and the next, and both 8 further

struct Bf16Products {
  using Element = Bf16;
  struct Left { unsigned r[4]; };
  struct Right { unsigned r[4]; };
  struct Tile { uint4 lanes[kWarp]; };
  using Fetched = Left;
  static constexpr bool kExact = false;
  static constexpr const char* kPath = "cuda-chunked-bf16";
  static constexpr int kPad = 8;  // elements: rows of an odd number of 16 bytes, so that the 8 rows of an ldmatrix lie in different banks

  __device__ static void store2(Element* to, float x0, float x1) { *reinterpret_cast<unsigned*>(to) = pack_bf16(x0, x1); }
  __device__ static void store4(Element* to, const Values<4>& x) {
    *reinterpret_cast<uint2*>(to) = make_uint2(pack_bf16(x.v[0], x.v[1]), pack_bf16(x.v[2], x.v[3]));
  }

  // Left operands: element (row, k) at from[row * pitch + k], at from[k * pitch + row], or value(row, k).
  __device__ static Left left_rows(const Element* from, int pitch) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    Left a;
    load_matrices(a.r, from + lane % 16 * pitch + lane / 16 * 8);
    return a;
  }
  __device__ static Left left_columns(const Element* from, int pitch) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    Left a;
    load_matrices_transposed(a.r, from + (lane % 8 + lane / 16 * 8) * pitch + lane / 8 % 2 * 8);
    return a;
  }
  template <class Value>
  __device__ static Left left_values(const Value& value) {
    const int g = tile_row(), t = tile_column();
    return {{pack_bf16(value(g, t), value(g, t + 1)), pack_bf16(value(g + 8, t), value(g + 8, t + 1)), pack_bf16(value(g, t + 8), value(g, t + 9)),
             pack_bf16(value(g + 8, t + 8), value(g + 8, t + 9))}};
  }

  // Right operands: element (k, column) at from[column * pitch + k], at from[k * pitch + column], or value(k, column).
  __device__ static Right right_rows(const Element* from, int pitch) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    Right b;
    load_matrices(b.r, from + (lane % 8 + lane / 16 * 8) * pitch + lane / 8 % 2 * 8);
    return b;
  }
  __device__ static Right right_columns(const Element* from, int pitch) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    Right b;
    load_matrices_transposed(b.r, from + lane % 16 * pitch + lane / 16 * 8);
    return b;
  }
  template <class Value>
  __device__ static Right right_values(const Value& value) {
    const int g = tile_row(), t = tile_column();
    return {{pack_bf16(value(t, g), value(t + 1, g)), pack_bf16(value(t + 8, g), value(t + 9, g)), pack_bf16(value(t, g + 8), value(t + 1, g + 8)),
             pack_bf16(value(t + 8, g + 8), value(t + 9, g + 8))}};
  }

  __device__ static void multiply(float (&low)[4], float (&high)[4], const Left& a, const Right& b) {
    mma_bf16(low, a.r, {b.r[0], b.r[1]});
    mma_bf16(high, a.r, {b.r[2], b.r[3]});
  }

  __device__ static Fetched fetch(const Tile* tile) {
    const uint4 x = tile->lanes[threadIdx.x % kWarp];
    return {{x.x, x.y, x.z, x.w}};
  }
  __device__ static Left left_of(const Fetched& tile) { return tile; }
  __device__ static void sums_of(const Fetched& tile, float (&low)[4], float (&high)[4]) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      low[2 * i] = __uint_as_float(tile.r[i] << 16), low[2 * i + 1] = __uint_as_float(tile.r[i] & 0xffff0000u);
      high[2 * i] = __uint_as_float(tile.r[i + 2] << 16), high[2 * i + 1] = __uint_as_float(tile.r[i + 2] & 0xffff0000u);
    }
  }
  __device__ static void put(Tile* tile, const Left& a) { tile->lanes[threadIdx.x % kWarp] = make_uint4(a.r[0], a.r[1], a.r[2], a.r[3]); }
  __device__ static void put(Tile* tile, const float (&low)[4], const float (&high)[4]) {
    put(tile, Left{{pack_bf16(low[0], low[1]), pack_bf16(low[2], low[3]), pack_bf16(high[0], high[1]), pack_bf16(high[2], high[3])}});
  }
};

// A lane holds the two whole rows and the four whole columns that its sums need.
struct F32Products {
  using Element = float;
  struct Left { float rows[2][16]; };
  struct Right { float columns[16][4]; };
  struct Tile { float values[16][16]; };
  using Fetched = const Tile*;
  static constexpr bool kExact = true;
  static constexpr const char* kPath = "cuda-chunked-f32";
  static constexpr int kPad = 4;

  __device__ static void store2(Element* to, float x0, float x1) { to[0] = x0, to[1] = x1; }
  __device__ static void store4(Element* to, const Values<4>& x) { store<4>(to, x); }

  template <class Value>
  __device__ static Left left_values(const Value& value) {
    Left a;
#pragma unroll
    for (int k = 0; k < 16; ++k) a.rows[0][k] = value(tile_row(), k), a.rows[1][k] = value(tile_row() + 8, k);
    return a;
  }
  __device__ static Left left_rows(const Element* from, int pitch) {
    return left_values([&](int row, int k) { return from[row * pitch + k]; });
  }
  __device__ static Left left_columns(const Element* from, int pitch) {
    return left_values([&](int row, int k) { return from[k * pitch + row]; });
  }

  template <class Value>
  __device__ static Right right_values(const Value& value) {
    Right b;
#pragma unroll
    for (int k = 0; k < 16; ++k)
#pragma unroll
      for (int c = 0; c < 4; ++c) b.columns[k][c] = value(k, tile_column() + c % 2 + c / 2 * 8);
    return b;
  }
  __device__ static Right right_rows(const Element* from, int pitch) {
    return right_values([&](int k, int column) { return from[column * pitch + k]; });
  }
  __device__ static Right right_columns(const Element* from, int pitch) {
    return right_values([&](int k, int column) { return from[k * pitch + column]; });
  }

  __device__ static void multiply(float (&low)[4], float (&high)[4], const Left& a, const Right& b) {
#pragma unroll
    for (int k = 0; k < 16; ++k)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        low[i] += a.rows[i / 2][k] * b.columns[k][i % 2];
        high[i] += a.rows[i / 2][k] * b.columns[k][2 + i % 2];
      }
  }

  __device__ static Fetched fetch(const Tile* tile) { return tile; }
  __device__ static Left left_of(Fetched tile) { return left_rows(tile->values[0], 16); }
  __device__ static void sums_of(Fetched tile, float (&low)[4], float (&high)[4]) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float* const row = tile->values[tile_row() + i / 2 * 8] + tile_column() + i % 2;
      low[i] = row[0], high[i] = row[8];
    }
  }
  __device__ static void put(Tile* tile, const Left& a) {
#pragma unroll
    for (int k = 0; k < 16; ++k)
      if (k % 4 == static_cast<int>(threadIdx.x) % 4) tile->values[tile_row()][k] = a.rows[0][k], tile->values[tile_row() + 8][k] = a.rows[1][k];
  }
  __device__ static void put(Tile* tile, const float (&low)[4], const float (&high)[4]) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      float* const row = tile->values[tile_row() + i / 2 * 8] + tile_column() + i % 2;
      row[0] = low[i], row[8] = high[i];
    }
  }
};

}  // namespace crossover::cuda
