// The operands of the scan over chunks, as gdn_prepare.cu makes them for a segment of tokens. For .cu files.
#pragma once

#include "kernels/cuda/gdn_inputs.h"
#include "kernels/cuda/tile_products.h"

namespace crossover::cuda {

inline constexpr int kChunk = static_cast<int>(kGdnChunk);
inline constexpr int kChunkTiles = kChunk / 16, kHeadTiles = kGdnDim / 16;

// Of the chunks of a segment; tiles of a matrix row by row.
template <class P>
struct PreparedChunks {
  using Tile = typename P::Tile;
  Tile *queries, *keys;     // [chunks, nk]: Q [64, 128], K^T [128, 64]
  Tile *reads, *writes;     // [chunks, nv]: W [64, 128], U [64, 128]
  Tile* attends;            // [chunks, nv]: P [64, 64]; tiles above the diagonal are not written
  float* decays;            // [chunks, nv, 2, 64]: e^G, e^(G_C - G)
  int key_heads, value_heads;

  static constexpr int kKeyTiles = kChunkTiles * kHeadTiles, kSquareTiles = kChunkTiles * kChunkTiles;
  __device__ int key(int chunk, int head) const { return (chunk * key_heads + head) * kKeyTiles; }
  __device__ int value(int chunk, int head) const { return chunk * value_heads + head; }
};

// One launch. Instantiated for both kinds of products.
template <class P>
void prepare_segment(Context& ctx, const GdnInputs& in, bool mixes, const GdnSegment& segment, const PreparedChunks<P>& to);

}  // namespace crossover::cuda
