// The gated delta rule by chunks of 64 tokens: what does not need the state is prepared for many chunks at once (gdn_prepare.cu); here the state
// passes over the chunks, one after the other. With S [128 (k), columns of a block] in f32 registers:
//   X = U + W S        four warps, 16 tokens each        } at the same time
//   O = e^G o (Q S)    the other four, 16 tokens each    }
//   S = e^(G_C) S + K^T (e^(G_C - G) o X)                eight warps, 16 rows of S each
//   O += P X           the four, beside the next chunk's first products of the others
// Two barriers a chunk. The left operands (W, Q, K^T, P) are each used by one warp only: they come from L2 straight into the registers of their
// fragments, asked for when the last chunk's have been used and needed half a chunk later. Only S and X, which all warps read, pass through
// shared memory, as bf16: 80-byte (144-byte) rows, an odd number of 16, so ldmatrix meets no bank twice.
//
// Per chunk of 32 columns: 432 mma.m16n8k16 = 1.8 MFLOP, 61 KB of operands. Serial chain: 8 + 4 dependent mma (33 cycles each), two trips through
// shared memory with their barriers and ldmatrix (about 120 cycles each): about 700 cycles; the operands at 64 bytes a cycle from L2 take 950: 0.55 us at
// 1.75 GHz. 8192 tokens are 128 chunks: 70 us for 32 heads (128 blocks, one on a multiprocessor), 48 heads (192 blocks) about 100 us.
// Registers: 16 state, 16 sums, 64 operands; 128 at 32 columns so that two blocks fit. Shared memory 26 KB (46 at 64 columns).
//
// A segment of 16 chunks is prepared, scanned and finished before the next: its tiles (29 MB for 16/32 heads, 40 for 16/48) then stay in L2
// (50 MB) where all chunks of 8192 tokens would write and read 230 MB of DRAM; scratch memory does not grow with the call either, and the 256 blocks that
// prepare one segment of 16 key heads are resident at once on 132 multiprocessors. The price is three launches and a trip of the state (4 MB) a segment.
// An H100's 1024 tokens of 16/32 heads: prepare 12 us (10 of them the projections' bytes), scan 11, norm 10 (bytes), gaps 4. 8192 tokens: scan and
// prepare 185 us of the goal of 280 for the rule alone, the whole mixer about 300, of which 160 are the bytes of its f32 operands (537 MB).
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/gdn_prepared.h"

namespace crossover::cuda {
namespace {

constexpr int kScanThreads = 256;

template <class P, int kColumns>
struct ScanMemory {
  static constexpr int kPitch = kColumns + P::kPad;
  alignas(16) typename P::Element state[kGdnDim][kPitch];
  alignas(16) typename P::Element x[2][kChunk][kPitch];  // of even and odd chunks: the last one is still read while the next is made
  alignas(16) typename P::Element kept[kChunk][kPitch];  // e^(G_C - G) X
};

// sums [16, kColumns] += left [16, 16 kSteps] right [16 kSteps, kColumns], the first `steps` of them.
template <class P, int kColumns, int kSteps>
__device__ __forceinline__ void multiply_tiles(TileSums (&sums)[kColumns / 16], const typename P::Fetched* left, const typename P::Element* right,
                                               int pitch, int steps = kSteps) {
#pragma unroll
  for (int s = 0; s < kSteps; ++s) {
    if (s >= steps) break;
    const auto a = P::left_of(left[s]);
#pragma unroll
    for (int n = 0; n < kColumns / 16; ++n) P::multiply(sums[n][0], sums[n][1], a, P::right_columns(right + 16 * s * pitch + 16 * n, pitch));
  }
}

template <class P, int kTiles>
__device__ __forceinline__ void add_tiles(TileSums (&sums)[kTiles], const typename P::Fetched* tiles) {
#pragma unroll
  for (int n = 0; n < kTiles; ++n) {
    TileSums tile;
    P::sums_of(tiles[n], tile[0], tile[1]);
#pragma unroll
    for (int i = 0; i < 8; ++i) sums[n][i / 4][i % 4] += tile[i / 4][i % 4];
  }
}

// Calls body(row of 16, column, first value, second value) for the pairs of a warp's sums.
template <int kTiles, class Body>
__device__ __forceinline__ void each_pair(TileSums (&sums)[kTiles], const Body& body) {
#pragma unroll
  for (int n = 0; n < kTiles; ++n)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      float* const pair = sums[n][i / 2] + i % 2 * 2;
      body(tile_row() + i % 2 * 8, 16 * n + 8 * (i / 2) + tile_column(), pair[0], pair[1]);
    }
}

// What a warp needs of a chunk.
template <class P, int kColumns>
struct ChunkOperands {
  const PreparedChunks<P>& from;
  int head, key_head, column, warp;
  typename P::Fetched left[kHeadTiles];    // W, or Q
  typename P::Fetched square[kChunkTiles];  // U's columns, or P
  typename P::Fetched keys[kChunkTiles];    // K^T
  float row_decay[2], chunk_decay;          // of rows tile_row() and 8 further: e^(G_C - G) beside W, e^G beside Q

  __device__ bool writes() const { return warp < kChunkTiles; }
  __device__ int tile() const { return warp % kChunkTiles; }

  template <int kFirst, int kCount>
  __device__ void fetch_left(int chunk) {
    const auto* tiles = (writes() ? from.reads + from.value(chunk, head) * from.kKeyTiles : from.queries + from.key(chunk, key_head)) + tile() * kHeadTiles;
#pragma unroll
    for (int s = kFirst; s < kFirst + kCount; ++s) left[s] = P::fetch(tiles + s);
  }
  __device__ void fetch_writes(int chunk) {
    const auto* tiles = from.writes + from.value(chunk, head) * from.kKeyTiles + tile() * kHeadTiles + column / 16;
#pragma unroll
    for (int n = 0; n < kColumns / 16; ++n) square[n] = P::fetch(tiles + n);
  }
  __device__ void fetch_attends(int chunk) {
    const auto* tiles = from.attends + from.value(chunk, head) * from.kSquareTiles + tile() * kChunkTiles;
#pragma unroll
    for (int s = 0; s < kChunkTiles; ++s)
      if (s <= tile()) square[s] = P::fetch(tiles + s);
  }
  __device__ void fetch_keys(int chunk) {
    const auto* tiles = from.keys + from.key(chunk, key_head) + warp * kChunkTiles;
#pragma unroll
    for (int s = 0; s < kChunkTiles; ++s) keys[s] = P::fetch(tiles + s);
  }
  __device__ void fetch_decays(int chunk) {
    const float* const decays = from.decays + from.value(chunk, head) * 2 * kChunk;
    const float* const rows = decays + (writes() ? kChunk : 0) + 16 * tile() + tile_row();
    row_decay[0] = rows[0], row_decay[1] = rows[8], chunk_decay = decays[kChunk - 1];
  }
};

// Tokens of a block's chunks in memory.
struct ScanRows {
  View<float> out;
  std::int64_t first;
  int chunks;
  bool pairs;  // out may be written two values at a time
};

template <class P, int kColumns>
__device__ void scan_columns(ScanMemory<P, kColumns>& memory, ChunkOperands<P, kColumns>& operands, TileSums (&state)[kColumns / 16], const ScanRows& rows) {
  constexpr int kHalf = kHeadTiles / 2;
  const bool writes = operands.writes();
  const int tile = operands.tile(), column = operands.head * kGdnDim + operands.column;
  for (int chunk = 0; chunk < rows.chunks; ++chunk) {
    const int next = chunk + 1 < rows.chunks ? chunk + 1 : chunk;
    TileSums sums[kColumns / 16] = {};
    multiply_tiles<P, kColumns, kHalf>(sums, operands.left, memory.state[0], memory.kPitch);
    operands.fetch_keys(chunk);  // into the registers of the first half
    multiply_tiles<P, kColumns, kHalf>(sums, operands.left + kHalf, memory.state[16 * kHalf], memory.kPitch);
    operands.template fetch_left<0, kHalf>(next);
    if (writes) add_tiles<P>(sums, operands.square);
    else operands.fetch_attends(chunk);
    each_pair(sums, [&](int row, int c, float& x0, float& x1) {
      const float decay = operands.row_decay[row == tile_row() ? 0 : 1];
      if (writes) {
        P::store2(memory.x[chunk % 2][16 * tile + row] + c, x0, x1);
        P::store2(memory.kept[16 * tile + row] + c, decay * x0, decay * x1);
      } else {
        x0 *= decay, x1 *= decay;
      }
    });
    __syncthreads();
    each_pair(state, [&](int, int, float& x0, float& x1) { x0 *= operands.chunk_decay, x1 *= operands.chunk_decay; });
    operands.fetch_decays(next);
    multiply_tiles<P, kColumns, kChunkTiles>(state, operands.keys, memory.kept[0], memory.kPitch);
    operands.template fetch_left<kHalf, kHalf>(next);
    if (writes) operands.fetch_writes(next);
    each_pair(state, [&](int row, int c, float x0, float x1) { P::store2(memory.state[16 * operands.warp + row] + c, x0, x1); });
    __syncthreads();
    if (writes) continue;
    multiply_tiles<P, kColumns, kChunkTiles>(sums, operands.square, memory.x[chunk % 2][0], memory.kPitch, tile + 1);
    each_pair(sums, [&](int row, int c, float x0, float x1) {
      const std::int64_t t = rows.first + kChunk * chunk + 16 * tile + row;
      if (t >= rows.out.rows) return;
      float* const to = rows.out.row(t) + column + c;
      if (rows.pairs) *reinterpret_cast<float2*>(to) = make_float2(x0, x1);
      else to[0] = x0, to[1] = x1;
    });
  }
}

// grid: slices of columns x value heads.
template <class P, int kColumns, int kResident>
__global__ void __launch_bounds__(kScanThreads, kResident) scan_chunks(PreparedChunks<P> from, bool tiled, float* states, ScanRows rows) {
  wait_for_launches_before();
  ScanMemory<P, kColumns>& memory = *dynamic_shared<ScanMemory<P, kColumns>>();
  const int warp = static_cast<int>(threadIdx.x) / kWarp, head = static_cast<int>(blockIdx.y), column = static_cast<int>(blockIdx.x) * kColumns;
  const int key_head = tiled ? head % from.key_heads : head / (from.value_heads / from.key_heads);
  ChunkOperands<P, kColumns> operands{from, head, key_head, column, warp, {}, {}, {}, {}, 0};
  operands.template fetch_left<0, kHeadTiles>(0), operands.fetch_decays(0);
  if (operands.writes()) operands.fetch_writes(0);
  float* const mine = states + (static_cast<std::int64_t>(head) * kGdnDim + 16 * warp) * kGdnDim + column;
  TileSums state[kColumns / 16];
  each_pair(state, [&](int row, int c, float& x0, float& x1) {
    x0 = mine[row * kGdnDim + c], x1 = mine[row * kGdnDim + c + 1];
    P::store2(memory.state[16 * warp + row] + c, x0, x1);
  });
  __syncthreads();
  scan_columns(memory, operands, state, rows);
  each_pair(state, [&](int row, int c, float x0, float x1) { mine[row * kGdnDim + c] = x0, mine[row * kGdnDim + c + 1] = x1; });
}

template <class P>
PreparedChunks<P> prepared_chunks(Context& ctx, const GdnInputs& in) {
  using Prepared = PreparedChunks<P>;
  const std::int64_t chunks = std::min(gdn_chunks(in.tokens), kGdnSegmentChunks), keys = chunks * in.key_heads, values = chunks * in.value_heads;
  const std::int64_t tiles = (2 * keys + 2 * values) * Prepared::kKeyTiles + values * Prepared::kSquareTiles;
  const std::size_t decay_bytes = static_cast<std::size_t>(values) * 2 * kChunk * sizeof(float);
  auto* const tile = reinterpret_cast<typename P::Tile*>(
      ctx.workspace.bytes("gdn.chunks", static_cast<std::size_t>(tiles) * sizeof(typename P::Tile) + decay_bytes));
  Prepared to;
  to.queries = tile, to.keys = to.queries + keys * Prepared::kKeyTiles, to.reads = to.keys + keys * Prepared::kKeyTiles;
  to.writes = to.reads + values * Prepared::kKeyTiles, to.attends = to.writes + values * Prepared::kKeyTiles;
  to.decays = reinterpret_cast<float*>(to.attends + values * Prepared::kSquareTiles);
  to.key_heads = in.key_heads, to.value_heads = in.value_heads;
  return to;
}

template <class P, int kColumns, int kResident>
void scan(Context& ctx, const PreparedChunks<P>& from, const GdnInputs& in, float* state, const ScanRows& rows) {
  const Shape shape{dim3(kGdnDim / kColumns, static_cast<unsigned>(in.value_heads)), dim3(kScanThreads), sizeof(ScanMemory<P, kColumns>)};
  launch(ctx, "gdn scan", scan_chunks<P, kColumns, kResident>, shape, from, in.tiled, state, rows);
}

template <class P>
void run_segment(Context& ctx, const GdnInputs& in, bool mixes, const PreparedChunks<P>& prepared, const GdnSegment& segment, float* state,
                 Rows out) {
  prepare_segment(ctx, in, mixes, segment, prepared);
  const bool pairs = reinterpret_cast<std::uintptr_t>(out.data) % 8 == 0 && out.stride % 2 == 0;
  const ScanRows rows{view(out), segment.first, static_cast<int>(gdn_chunks(segment.tokens)), pairs};
  if constexpr (P::kExact) scan<P, 32, 1>(ctx, prepared, in, state, rows);
  else if (gdn_scan_columns(in.value_heads, ctx.device->facts().multiprocessors) == 32) scan<P, 32, 2>(ctx, prepared, in, state, rows);
  else scan<P, 64, 1>(ctx, prepared, in, state, rows);
}

}  // namespace

void scan_segment(Context& ctx, const GdnInputs& in, bool mixes, bool f32_products, const GdnSegment& segment, float* state, Rows out) {
  ctx.counters.path("gdn", f32_products ? F32Products::kPath : Bf16Products::kPath);
  if (f32_products) run_segment(ctx, in, mixes, prepared_chunks<F32Products>(ctx, in), segment, state, out);
  else run_segment(ctx, in, mixes, prepared_chunks<Bf16Products>(ctx, in), segment, state, out);
}

void gdn_chunked(Context& ctx, const GdnScan& scan, Rows out) {
  for (std::int64_t i = 0; i < gdn_segments(out.rows); ++i)
    scan_segment(ctx, gdn_inputs(scan, out.rows), false, scan.f32_products, gdn_segment(i, out.rows), scan.state, out);
}

}  // namespace crossover::cuda
