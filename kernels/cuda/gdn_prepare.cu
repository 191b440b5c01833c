// What a chunk of C = 64 tokens needs before the state reaches it, all chunks in parallel. With G the running sum of g inside the chunk:
//   A = strict_lower(diag(b) (K K^T o e^(G_i - G_j))),  T = (I + A)^-1
//   W = -T diag(b e^G) K,  U = T diag(b) V,  P = lower(Q K^T o e^(G_i - G_j))
// so that the scan has left X = U + W S, O = diag(e^G) Q S + P X, S <- e^(G_C) S + K^T diag(e^(G_C - G)) X (gdn_chunked.cu).
//
// A block takes a chunk of one key head and its value heads, one after the other: K K^T and Q K^T, which these share, stay in registers. The inverse
// is made by blocks: four 16 x 16 by forward substitution in f32, a column a thread, then [[L1, 0], [B, L2]]^-1 = [[I1, 0], [-I2 B I1, I2]] twice,
// 16 -> 32 -> 64, on tensor cores. T is bounded by b <= 1 (it is a product of contractions), so bf16 operands lose 2^-9 and no more.
// G is kept as a sum of two floats: it may reach thousands where a difference near zero matters, and only differences <= 0 are exponentiated.
//
// Work per chunk of the 35B shape (2 value heads): 4.2 MFLOP for K K^T and Q K^T, 2.6 per value head for W and U (triangles skipped), 0.2 for the
// merges: 9.8 MFLOP; 17 GFLOP for 16 key heads x 8192 tokens, 35 us at 500 TFLOPS. Bytes: 268 MB of f32 projections once, 80 us on an H100, and
// 32 KB per chunk and key head + 40 KB per chunk and value head written to L2. The chain of a block (two rounds of loads, 9 barriers per value
// head) is about 7 us, two blocks resident on a multiprocessor: about 60 us in 8 waves, under the loads' 80.
// Shared memory: 54 KB (88 in f32). Registers: at most 128, two blocks a multiprocessor.
#include "kernels/cuda/gdn_prepared.h"
#include "kernels/cuda/launch.h"

namespace crossover::cuda {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / kWarp;

template <class P>
struct PrepareMemory {
  static constexpr int kPitch = kGdnDim + P::kPad;
  static constexpr int kSystemPitch = kChunk + 8;  // a row further is 8 banks: pairs of 8 rows do not meet
  alignas(16) typename P::Element keys[kChunk][kPitch];
  alignas(16) typename P::Element values[kChunk][kPitch];  // queries first
  alignas(16) float system[kChunk][kSystemPitch];          // A, then T
  float high[kChunk], low[kChunk], beta[kChunk], read_scale[kChunk];
};

// One value head's gates, by a warp.
template <class P, bool kMixes>
__device__ void prepare_gates(PrepareMemory<P>& memory, const GdnInputs& in, int head, std::int64_t first, float* decays) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  double g[2];
  float beta[2];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const std::int64_t t = first + 2 * lane + i;
    const GdnGates gates = t < in.tokens ? read_gates<kMixes>(in, head, t, true) : GdnGates{0, 0};
    g[i] = static_cast<double>(fmaxf(gates.g, -1e4f)), beta[i] = gates.beta;  // e^-10000 is 0 already; -inf would give inf - inf
  }
  double sum = g[0] + g[1];
#pragma unroll
  for (int lanes = 1; lanes < kWarp; lanes *= 2) {
    const double other = __shfl_up_sync(kAllLanes, sum, lanes);
    if (lane >= lanes) sum += other;
  }
  const double total = __shfl_sync(kAllLanes, sum, kWarp - 1);
  const double sums[2] = {sum - g[1], sum};
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int t = 2 * lane + i;
    const auto high = static_cast<float>(sums[i]);
    const float from_start = expf(high);
    memory.high[t] = high, memory.low[t] = static_cast<float>(sums[i] - static_cast<double>(high));
    memory.beta[t] = beta[i], memory.read_scale[t] = -beta[i] * from_start;
    decays[t] = from_start, decays[kChunk + t] = expf(static_cast<float>(total - sums[i]));
  }
}

// Columns of the inverses of the four diagonal blocks, a column a thread of two warps, in place; then of the two of 32, a warp each.
template <class P>
__device__ void invert_blocks(PrepareMemory<P>& memory) {
  const int thread = static_cast<int>(threadIdx.x), first = thread / 16 * 16, column = thread % 16;
  float x[16];
#pragma unroll
  for (int i = 0; i < 16; ++i) {
    float sum = i == column ? 1.0f : 0.0f;
#pragma unroll
    for (int m = 0; m < i; m += 4) {
      const Values<4> a = load<4>(&memory.system[first + i][first + m]);
#pragma unroll
      for (int n = 0; n < 4; ++n)
        if (m + n < i) sum -= a.v[n] * x[m + n];
    }
    x[i] = sum;
  }
  __syncwarp();
#pragma unroll
  for (int i = 0; i < 16; ++i) memory.system[first + i][first + column] = x[i];
  __syncwarp();
}

// sums [16, 16] = system[row .., k ..] system[k .., column ..] over `steps` times 16 of k; left and right may begin at different k.
template <class P>
__device__ void multiply_blocks(TileSums& sums, const PrepareMemory<P>& memory, int row, int left_k, int right_k, int column, int steps) {
#pragma unroll
  for (int i = 0; i < 8; ++i) sums[i / 4][i % 4] = 0;
  for (int s = 0; s < steps; ++s)
    P::multiply(sums[0], sums[1], P::left_values([&](int r, int k) { return memory.system[row + r][left_k + 16 * s + k]; }),
                P::right_values([&](int k, int c) { return memory.system[right_k + 16 * s + k][column + c]; }));
}

template <class P>
__device__ void put_block(PrepareMemory<P>& memory, int row, int column, const TileSums& sums, float sign) {
#pragma unroll
  for (int n = 0; n < 2; ++n)
#pragma unroll
    for (int i = 0; i < 4; ++i) memory.system[row + tile_row() + i / 2 * 8][column + 8 * n + tile_column() + i % 2] = sign * sums[n][i];
}

template <class P>
__device__ void invert(PrepareMemory<P>& memory) {
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  TileSums sums;
  if (warp < 2) {
    const int top = 32 * warp, bottom = top + 16;
    invert_blocks(memory);
    multiply_blocks<P>(sums, memory, bottom, bottom, bottom, top, 1);
    __syncwarp();
    put_block(memory, bottom, top, sums, 1);
    __syncwarp();
    multiply_blocks<P>(sums, memory, bottom, top, top, top, 1);
    __syncwarp();
    put_block(memory, bottom, top, sums, -1);
  }
  __syncthreads();
  const int row = 32 + warp / 2 * 16, column = warp % 2 * 16;  // of the lower left block of 32: warps 0 .. 3
  if (warp < 4) multiply_blocks<P>(sums, memory, row, 32, 32, column, 1 + warp / 2);
  __syncthreads();
  if (warp < 4) put_block(memory, row, column, sums, 1);
  __syncthreads();
  if (warp < 4) multiply_blocks<P>(sums, memory, row, column, column, column, 2 - warp % 2);
  __syncthreads();
  if (warp < 4) put_block(memory, row, column, sums, -1);
  __syncthreads();
}

// to [16 rows of this warp, half of the columns] = T diag(scale) right, as tiles.
template <class P>
__device__ void solve(const PrepareMemory<P>& memory, const float* scale, const typename P::Element* right, typename P::Tile* to) {
  constexpr int kTiles = kHeadTiles / 2;
  const int warp = static_cast<int>(threadIdx.x) / kWarp, tile = warp % kChunkTiles, half = warp / kChunkTiles;
  TileSums sums[kTiles] = {};
  for (int s = 0; s <= tile; ++s) {
    const auto left = P::left_values([&](int r, int k) { return memory.system[16 * tile + r][16 * s + k] * scale[16 * s + k]; });
#pragma unroll
    for (int n = 0; n < kTiles; ++n)
      P::multiply(sums[n][0], sums[n][1], left, P::right_columns(right + 16 * s * memory.kPitch + 16 * (half * kTiles + n), memory.kPitch));
  }
#pragma unroll
  for (int n = 0; n < kTiles; ++n) P::put(to + tile * kHeadTiles + half * kTiles + n, sums[n][0], sums[n][1]);
}

// Raw products of a warp: rows of tile warp % 4, columns of the half warp / 4; the half above the diagonal stays zero.
struct KeyProducts {
  TileSums kk[2] = {}, qk[2] = {};
  static __device__ int tile() { return static_cast<int>(threadIdx.x) / kWarp % kChunkTiles; }
  static __device__ int first_column_tile() { return static_cast<int>(threadIdx.x) / kWarp / kChunkTiles * 2; }
};

template <class P>
__device__ void multiply_keys(const PrepareMemory<P>& memory, KeyProducts& products) {
  const int row = 16 * KeyProducts::tile(), column = 16 * KeyProducts::first_column_tile();
  if (column > row) return;
#pragma unroll 2
  for (int s = 0; s < kHeadTiles; ++s) {
    const auto k = P::left_rows(memory.keys[row] + 16 * s, memory.kPitch), q = P::left_rows(memory.values[row] + 16 * s, memory.kPitch);
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      const auto right = P::right_rows(memory.keys[column + 16 * n] + 16 * s, memory.kPitch);
      P::multiply(products.kk[n][0], products.kk[n][1], k, right);
      P::multiply(products.qk[n][0], products.qk[n][1], q, right);
    }
  }
}

// A into shared memory and P to its tiles.
template <class P>
__device__ void decay_products(PrepareMemory<P>& memory, const KeyProducts& products, typename P::Tile* attends) {
  const int tile = KeyProducts::tile(), first = KeyProducts::first_column_tile();
#pragma unroll
  for (int n = 0; n < 2; ++n) {
    if (first + n > tile) continue;
    TileSums system, attend;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const int row = 16 * tile + tile_row() + i % 4 / 2 * 8, column = 16 * (first + n) + 8 * (i / 4) + tile_column() + i % 2;
      const float difference = (memory.high[row] - memory.high[column]) + (memory.low[row] - memory.low[column]);
      const float decay = column <= row ? fast_exp2(1.4426950408889634f * fminf(difference, 0.0f)) : 0.0f;
      system[i / 4][i % 4] = column < row ? memory.beta[row] * decay * products.kk[n][i / 4][i % 4] : 0.0f;
      attend[i / 4][i % 4] = decay * products.qk[n][i / 4][i % 4];
    }
    put_block(memory, 16 * tile, 16 * (first + n), system, 1);
    P::put(attends + tile * kChunkTiles + first + n, attend[0], attend[1]);
  }
}

// Rows 8 warp .. of a head into shared memory.
template <class P, bool kMixes, int kRows>
__device__ void prepare_rows(const GdnInputs& in, GdnPart part, int head, std::int64_t first,
                             typename P::Element (&to)[kChunk][PrepareMemory<P>::kPitch]) {
  const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
  for (int at = kRows * warp; at < kChunk; at += kRows * kWarps) {
    Values<4> y[kRows];
    if (part == GdnPart::kValue) read_rows<kRows, kMixes>(in, part, head, first + at, lane * kGdnLaneValues, true, y);
    else read_key_rows<kRows, kMixes>(in, part, head, first + at, true, y);
#pragma unroll
    for (int t = 0; t < kRows; ++t) P::store4(to[at + t] + lane * kGdnLaneValues, y[t]);
  }
}

// grid: chunks x key heads. first: token of the segment's first chunk.
template <class P, bool kMixes>
__global__ void __launch_bounds__(kThreads, P::kExact ? 1 : 2) prepare_chunks(GdnInputs in, std::int64_t first, PreparedChunks<P> to) {
  wait_for_launches_before();
  using Prepared = PreparedChunks<P>;
  PrepareMemory<P>& memory = *dynamic_shared<PrepareMemory<P>>();
  const int warp = static_cast<int>(threadIdx.x) / kWarp, key_head = static_cast<int>(blockIdx.y);
  const int chunk = static_cast<int>(blockIdx.x);
  const std::int64_t token = first + chunk * kChunk;
  prepare_rows<P, kMixes, 4>(in, GdnPart::kQuery, key_head, token, memory.values);
  prepare_rows<P, kMixes, 4>(in, GdnPart::kKey, key_head, token, memory.keys);
  __syncthreads();
  KeyProducts products;
  multiply_keys(memory, products);
  for (int i = warp; i < Prepared::kKeyTiles; i += kWarps) {
    P::put(to.queries + to.key(chunk, key_head) + i, P::left_rows(memory.values[i / kHeadTiles * 16] + i % kHeadTiles * 16, memory.kPitch));
    P::put(to.keys + to.key(chunk, key_head) + i, P::left_columns(memory.keys[i % kChunkTiles * 16] + i / kChunkTiles * 16, memory.kPitch));
  }
  for (int i = 0; i < in.ratio(); ++i) {
    const int head = in.value_head(key_head, i);
    const int at = to.value(chunk, head);
    __syncthreads();
    if (warp == 0) prepare_gates<P, kMixes>(memory, in, head, token, to.decays + at * 2 * kChunk);
    prepare_rows<P, kMixes, 2>(in, GdnPart::kValue, head, token, memory.values);
    __syncthreads();
    decay_products(memory, products, to.attends + at * Prepared::kSquareTiles);
    __syncthreads();
    invert(memory);
    solve(memory, memory.read_scale, memory.keys[0], to.reads + at * Prepared::kKeyTiles);
    solve(memory, memory.beta, memory.values[0], to.writes + at * Prepared::kKeyTiles);
  }
}

}  // namespace

template <class P>
void prepare_segment(Context& ctx, const GdnInputs& in, bool mixes, const GdnSegment& segment, const PreparedChunks<P>& to) {
  const dim3 grid(static_cast<unsigned>(gdn_chunks(segment.tokens)), static_cast<unsigned>(in.key_heads));
  const Shape shape{grid, dim3(kThreads), sizeof(PrepareMemory<P>)};
  launch(ctx, "gdn prepare", mixes ? prepare_chunks<P, true> : prepare_chunks<P, false>, shape, in, segment.first, to);
}
template void prepare_segment(Context&, const GdnInputs&, bool, const GdnSegment&, const PreparedChunks<Bf16Products>&);
template void prepare_segment(Context&, const GdnInputs&, bool, const GdnSegment&, const PreparedChunks<F32Products>&);

}  // namespace crossover::cuda
