// Many tokens times weights on AMX: 256 columns of 32 rows at a time become bf16, then 32 tokens times 32 rows are four tiles of f32
// sums.
//
// Why bf16 for Q6_K. The scales of Q6_K and of int8 activations change every 16 and 32 values, and a tile product takes its 16 cycles however
// short the sum. Exact integers would need two planes of codes times scales and sums stored for every 32 values: hardly more than
// vpdpbusd with scales. One scale per 256 activations would do, at 1.7 times the error. In bf16 the scales go into the weights, and sums
// stay in tiles.
//
// The bound, measured on one Granite Rapids core at numbers that are not zero: tdpbf16ps 3.4 TFLOP/s in registers, 2.75 with all
// operands in the L1 cache, 2.5 to 2.65 with activations from L2, 1.8 when sums are loaded and stored every 256 columns as well (a depth
// of 512 does not leave its weights in L1). Products of tiles take turns with other vector instructions on port 5, so that half of
// widening adds to their time: of 0.043 ns a weight, 2 T / 1800 ns for T tokens. Few tokens wait for weights: 0.82 bytes each.
#include "kernels/cpu/tiles/tile_micro.h"

#include <type_traits>

#include "kernels/cpu/tiles/bf16.h"
#include "kernels/cpu/tiles/widen_q6_k.h"
#include "kernels/cpu/tiles/widen_rows.h"

namespace crossover::cpu::CROSSOVER_ISA {
namespace {

// A group of panels passes the depth piece by piece: its weights (32 rows, widened) stay in the L1 cache while all tokens pass, the
// activations of one depth and the sums of all in the L2 cache.
constexpr std::int64_t kDepth = kBlockSteps * kStep;
constexpr std::int64_t kGroupPanels = 8;
constexpr std::int64_t kGroupTokens = 512;
constexpr std::int64_t kLine = 64;
// Outputs of more tokens go past the caches: no cache would hold them until they are read, and none of their lines is read before it is
// written (1.42 to 1.49 against 1.26 to 1.38 TFLOP/s at 512 tokens).
constexpr std::int64_t kStreamFrom = 256;

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

struct Scratch {
  WeightStep weights[2][kBlockSteps];  // of many tokens one is multiplied while the other is widened, of few the first is a ring
  SumTiles sums[kGroupTokens / kBlockTokens][kGroupPanels];
};

// Activations as packed: of every kDepth values all tiles of 16 tokens, one after the other.
struct Packed {
  Tile* tiles;
  std::int64_t count, steps;  // tiles of 16 tokens; of all values
  Packed(std::byte* memory, std::int64_t tokens, std::int64_t dim) : tiles(reinterpret_cast<Tile*>(memory)), count(ceil_div(tokens, kSide)), steps(dim / kStep) {}
  // Step `first` (a multiple of kBlockSteps) of tile t, the others of the same depth behind it.
  Tile* at(std::int64_t first, std::int64_t t) const { return tiles + first * count + t * kBlockSteps; }
};

std::int64_t packed_bytes(std::int64_t tokens, std::int64_t dim) {
  return ceil_div(tokens, kSide) * (dim / kStep) * static_cast<std::int64_t>(sizeof(Tile));
}

template <class Block>
void pack_tile_for(const float* const* rows, std::int64_t tile, std::int64_t tokens, std::int64_t dim, std::byte* memory) {
  const Packed packed(memory, tokens, dim);
  const std::int64_t count = tokens - tile * kSide < kSide ? tokens - tile * kSide : kSide;
  for (std::int64_t first = 0; first < packed.steps; first += kBlockSteps) {
    Tile* to = packed.at(first, tile);
    for (std::int64_t s = 0; s < kBlockSteps; ++s, ++to) {
      for (std::int64_t t = 0; t < count; ++t) Block::pack(rows[t] + (first + s) * kStep, to->pair[t]);
      if (count < kSide) __builtin_memset(to->pair[count], 0, static_cast<std::size_t>(kSide - count) * sizeof to->pair[0]);
    }
  }
}

void pack_tile(DType weight, const float* const* rows, std::int64_t tile, std::int64_t tokens, std::int64_t dim, std::byte* memory) {
  if (weight == DType::kQ6_K) return pack_tile_for<PanelBlock>(rows, tile, tokens, dim, memory);
  pack_tile_for<RowsBlock<StoredBf16>>(rows, tile, tokens, dim, memory);
}

std::int64_t scratch_bytes() { return sizeof(Scratch); }

// The blocks of a group of panels.
template <class Block>
class Blocks {
 public:
  Blocks(const GemmTilesMicro::Weights& weights, std::int64_t dim)
      : weights_(weights), depths_(dim / kDepth), half_(ceil_div(weights.rows, kPanelRows)), panels_(weights.up ? 2 * half_ : half_) {}
  std::int64_t panels() const { return panels_; }  // those of `up` behind those of `gate`
  std::int64_t count() const { return panels_ * depths_; }
  // Of all panels the first, then the second. What is beyond the last is the last.
  Block across(std::int64_t i) const { return i < count() ? at(i % panels_, i / panels_) : at(panels_ - 1, depths_ - 1); }
  // All of a panel, then all of the next, as they lie in memory.
  Block along(std::int64_t i) const { return i < count() ? at(i / depths_, i % depths_) : at(panels_ - 1, depths_ - 1); }

 private:
  Block at(std::int64_t panel, std::int64_t depth) const {
    const bool up = panel >= half_;
    return Block::of(up ? weights_.up : weights_.gate, weights_.rows, up ? panel - half_ : panel, depth, depths_);
  }

  GemmTilesMicro::Weights weights_;
  std::int64_t depths_, half_, panels_;
};

// What goes on while tiles of many tokens are multiplied: the next block is widened, the one after it and the activations of the next depth
// come to the caches.
template <class Block>
class Meanwhile {
 public:
  // All of it happens in `calls` calls of operator().
  Meanwhile(const Block& from, WeightStep* to, const Block& after, std::int64_t calls, const char* activations, std::int64_t lines)
      : from_(from), after_(after), to_(to), calls_(calls), activations_(activations), lines_(lines) {}

  CROSSOVER_INLINE void operator()() {
    for (due_ += kBlockPieces; due_ >= calls_ && piece_ < kBlockPieces; due_ -= calls_) widen_next();
    for (std::int64_t i = 0; i < lines_; ++i, activations_ += kLine) __builtin_prefetch(activations_, 0, 2);
  }
  void skip() { piece_ = kBlockPieces; }
  void finish() { while (piece_ < kBlockPieces) widen_next(); }

 private:
  CROSSOVER_INLINE void widen_next() {
    after_.prefetch(piece_);
    from_.widen(piece_, to_[piece_ / 2]);
    ++piece_;
  }

  Block from_, after_;
  WeightStep* to_;
  std::int64_t calls_, due_ = 0;
  int piece_ = 0;
  const char* activations_;
  std::int64_t lines_;  // of one call
};

// scratch.sums of `tiles` tiles of tokens from first_tile on: all panels of the group, all of the depth.
template <class Block>
void multiply_group(const Packed& packed, std::int64_t first_tile, std::int64_t tiles, const Blocks<Block>& blocks, Scratch& scratch) {
  Tiles unit(kTiles);
  const std::int64_t panels = blocks.panels(), calls = ceil_div(tiles, 2) * kBlockSteps;
  const std::int64_t lines = ceil_div(tiles * kBlockSteps * static_cast<std::int64_t>(sizeof(Tile)) / kLine, panels * calls);
  for (int piece = 0; piece < kBlockPieces; ++piece) blocks.across(0).widen(piece, scratch.weights[0][piece / 2]);
  for (std::int64_t i = 0; i < blocks.count(); ++i) {
    const std::int64_t p = i % panels, first = i / panels * kBlockSteps, next_first = first + kBlockSteps < packed.steps ? first + kBlockSteps : 0;
    const WeightStep* const weights = scratch.weights[i % 2];
    const char* const next_activations = reinterpret_cast<const char*>(packed.at(next_first, first_tile)) + p * lines * calls * kLine;
    Meanwhile<Block> meanwhile(blocks.across(i + 1), scratch.weights[(i + 1) % 2], blocks.across(i + 2), calls, next_activations, lines);
    if (i + 1 == blocks.count()) meanwhile.skip();
    const auto add_block = [&]<bool kTwo>(std::bool_constant<kTwo>, std::int64_t t) {
      SumTiles& sums = scratch.sums[t / 2][p];
      if (first > 0) load_sums<kTwo>(unit, sums);
      else zero_sums<kTwo>(unit);
      const Tile* a = packed.at(first, first_tile + t);
      for (std::int64_t s = 0; s < kBlockSteps; ++s, ++a) add_step<kTwo>(unit, weights[s], *a, kTwo ? a[kBlockSteps] : *a), meanwhile();
      store_sums<kTwo>(unit, sums);
    };
    std::int64_t t = 0;
    for (; t + 1 < tiles; t += 2) add_block(std::true_type{}, t);
    if (t < tiles) add_block(std::false_type{}, t);
    meanwhile.finish();
  }
}

// Widens the steps of a group one after the other, as they lie in memory, to a ring of kBlockSteps.
template <class Block>
class Widener {
 public:
  Widener(const Blocks<Block>& blocks, WeightStep* ring) : blocks_(blocks), ring_(ring), from_(blocks.along(0)), after_(blocks.along(1)) {}
  // Nothing after the last.
  CROSSOVER_INLINE void next() {
    if (block_ == blocks_.count()) return;
#pragma GCC unroll 1
    for (int i = 0; i < 2; ++i, ++piece_) {
      constexpr int kAhead = kBlockPieces / 2;
      if (piece_ < kBlockPieces - kAhead) from_.prefetch(piece_ + kAhead);
      else after_.prefetch(piece_ + kAhead - kBlockPieces);
      from_.widen(piece_, ring_[piece_ / 2]);
    }
    if (piece_ < kBlockPieces) return;
    piece_ = 0, ++block_, from_ = after_, after_ = blocks_.along(block_ + 1);
  }

 private:
  const Blocks<Block>& blocks_;
  WeightStep* ring_;
  Block from_, after_;
  std::int64_t block_ = 0;
  int piece_ = 0;
};

// The same of no more than kBlockTokens: sums stay in tiles for the whole depth of a panel, and weights are read in the order in which they
// lie in memory, whose delivery is most of the time (0.12 to 0.14 against 0.09 to 0.10 ns a weight of 16 and 32 tokens).
template <bool kTwo, class Block>
void multiply_few(const Packed& packed, std::int64_t tokens, const Blocks<Block>& blocks, Scratch& scratch) {
  constexpr int kAhead = 2;  // steps from widening to multiplying
  Tiles unit(tiles_of(tokens));
  WeightStep* const ring = scratch.weights[0];
  Widener<Block> widener(blocks, ring);
  for (int i = 0; i < kAhead; ++i) widener.next();
  for (std::int64_t p = 0; p < blocks.panels(); ++p) {
    zero_sums<kTwo>(unit);
    for (std::int64_t first = 0; first < packed.steps; first += kBlockSteps) {
      const Tile* a = packed.at(first, 0);
      for (std::int64_t s = 0; s < kBlockSteps; ++s, ++a) add_step<kTwo>(unit, ring[s], *a, kTwo ? a[kBlockSteps] : *a), widener.next();
    }
    store_sums<kTwo>(unit, scratch.sums[0][p]);
  }
}

template <class Block>
CROSSOVER_INLINE F16 sixteen(const SumTiles& sums, std::int64_t token, int half) {
  return load(sums.sum[token / kSide][half][token % kSide]) * broadcast(Block::kSums);
}

// The first `there` of x.
template <bool kStream>
CROSSOVER_INLINE void store_row(float* out, F16 x, std::int64_t there) {
#if defined(__AVX512F__)
  if (kStream && there >= kSide) return _mm512_stream_ps(out, x.v);
#endif
  store_n(out, x, there);
}

template <class Block, bool kStream>
void store_group(const Scratch& scratch, std::int64_t tokens, const GemmTilesMicro::Weights& weights, float* out, std::int64_t out_stride) {
  for (std::int64_t t = 0; t < tokens; ++t, out += out_stride) {
    const auto& sums = scratch.sums[t / kBlockTokens];
    for (std::int64_t n = 0; n < weights.rows; n += kSide) {
      const std::int64_t p = n / kPanelRows;
      const int half = static_cast<int>(n / kSide % 2);
      F16 x = sixteen<Block>(sums[p], t % kBlockTokens, half);
      if (weights.up) x = silu(x) * sixteen<Block>(sums[ceil_div(weights.rows, kPanelRows) + p], t % kBlockTokens, half);
      store_row<kStream>(out + n, x, weights.rows - n);
    }
  }
}

template <class Block>
void multiply(const GemmTilesMicro::Weights& weights, std::int64_t dim, const std::byte* memory, std::int64_t tokens, float* out, std::int64_t out_stride,
              std::byte* scratch_memory) {
  const Packed packed(const_cast<std::byte*>(memory), tokens, dim);
  auto& scratch = *reinterpret_cast<Scratch*>(scratch_memory);
  const Blocks<Block> blocks(weights, dim);
  const bool stream = tokens >= kStreamFrom && reinterpret_cast<std::uintptr_t>(out) % kLine == 0 && out_stride % kSide == 0;
  for (std::int64_t t = 0; t < tokens; t += kGroupTokens) {
    const std::int64_t count = tokens - t < kGroupTokens ? tokens - t : kGroupTokens;
    if (tokens <= kSide) multiply_few<false>(packed, tokens, blocks, scratch);
    else if (tokens <= kBlockTokens) multiply_few<true>(packed, tokens, blocks, scratch);
    else multiply_group(packed, t / kSide, ceil_div(count, kSide), blocks, scratch);
    if (stream) store_group<Block, true>(scratch, count, weights, out + t * out_stride, out_stride);
    else store_group<Block, false>(scratch, count, weights, out + t * out_stride, out_stride);
  }
#if defined(__AVX512F__)
  if (stream) _mm_sfence();  // before other threads are told
#endif
}

void gemm(const GemmTilesMicro::Weights& weights, std::int64_t dim, const std::byte* packed, std::int64_t tokens, float* out, std::int64_t out_stride,
          std::byte* scratch) {
  switch (weights.dtype) {
    case DType::kQ6_K: return multiply<PanelBlock>(weights, dim, packed, tokens, out, out_stride, scratch);
    case DType::kBF16: return multiply<RowsBlock<StoredBf16>>(weights, dim, packed, tokens, out, out_stride, scratch);
    case DType::kQ8_0: return multiply<RowsBlock<StoredQ8_0>>(weights, dim, packed, tokens, out, out_stride, scratch);
    default: __builtin_unreachable();
  }
}

const char* path(DType weight) { return weight == DType::kQ6_K ? "amx-bf16-panels" : "amx-bf16-rows"; }

std::int64_t from_tokens(DType weight, Layout layout, std::int64_t dim) {
  if (dim % kDepth != 0) return 0;
  if (weight == DType::kQ6_K) return layout == Layout::kPanels ? kMatvecTokens + 1 : 0;
  return weight == DType::kBF16 ? 16 : weight == DType::kQ8_0 ? 32 : 0;
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
const TileMicro tiles = {{path, from_tokens, kSide, kGroupPanels, packed_bytes, pack_tile, scratch_bytes, gemm}, {4 * 16 * 16 * 32 * 2, chains}, work};

}  // namespace crossover::cpu::CROSSOVER_ISA
