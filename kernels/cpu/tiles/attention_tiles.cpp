// Attention of many rows on AMX: 32 query rows against blocks of up to 512 keys, packed as tiles once for all query heads and tokens.
// Scores of 64 keys at a time stay in the L1 cache and become weights while the tiles multiply for the next 64 (the vector units are
// idle otherwise); then the weights of the whole block, already rows of bf16 as a product wants them, are multiplied by its values, and
// the sums are loaded and stored once per block.
//
// The bound: with heads of 256, a product of 16 cycles for 16 scores, half of it for q k and half for the values. On a Granite Rapids core
// that is 4.9 ns for zeros; for other operands, of which those of blocks come from L2, the clock falls and it is 7.5. The whole takes 10.
#include "kernels/cpu/micro/transpose.h"
#include "kernels/cpu/tiles/attention_few.h"
#include "kernels/cpu/tiles/attention_weights.h"
#include "kernels/cpu/tiles/tile_micro.h"
#include "kernels/cpu/tiles/tiles.h"

namespace crossover::cpu::CROSSOVER_ISA {
namespace {

constexpr std::int64_t kTileValues = 2 * kSide * kSide;
constexpr std::int64_t kUnits = kTileBlockKeys / kTileUnitKeys;
constexpr std::int64_t kScoreStride = kStripKeys + 16, kWeightStride = kTileBlockKeys + kStep;  // not powers of two: rows would share cache sets
static_assert(kTileRows == 2 * kSide && kTileUnitKeys == kStep && kStripKeys == 2 * kTileUnitKeys);

struct Scratch {
  alignas(64) float scores[2][kTileRows][kScoreStride];
  alignas(64) std::uint16_t weights[kTileRows][kWeightStride];
};

std::int64_t query_stride(const AttentionTileRows& to) { return to.head_dim + kTileQueryPad; }
std::int64_t accumulator_stride(const AttentionTileRows& to) { return to.head_dim + kTileAccumulatorPad; }

// kStripKeys keys from `first_key` on and kTileRows rows from `first_row` on, whose scores wait to become weights.
struct Strip {
  const AttentionTileRows* to = nullptr;
  std::int64_t first_row = 0, first_key = 0, count = 0;  // count: keys of the block
  float (*scores)[kScoreStride] = nullptr;
  std::uint16_t (*weights)[kWeightStride] = nullptr;
};

CROSSOVER_INLINE void weigh(const Strip& strip, std::int64_t r) {
  const std::int64_t row = strip.first_row + r, stride = accumulator_stride(*strip.to);
  const std::int64_t seen = strip.to->visible[row] < strip.count ? strip.to->visible[row] : strip.count;
  float *accumulator = strip.to->accumulator + row * stride, *sums = accumulator + strip.to->head_dim;
  float* from = strip.to->fresh ? sums : accumulator;
  weigh_strip(strip.scores[r], seen - strip.first_key, strip.weights[r], strip.first_key, strip.to->row_max[row], sums, from,
              sums + kTileAccumulatorPad - from);
}

// Stores the scores [32][32] of the unit before, tile by tile between the products that begin the next: a store takes the tiles as long as a
// product does, and waits for the last one.
template <int tile>
CROSSOVER_INLINE void begin_sum(Tiles& tiles, float* before) {
  if (before) tiles.store<tile>(before + tile / 2 * kSide * kScoreStride + tile % 2 * kSide, 4 * kScoreStride);
  tiles.zero<tile>();
}

// Products of 32 rows and 32 columns with 32 values; `begin` makes room for each of the four sums.
template <class Begin>
CROSSOVER_INLINE void multiply(Tiles& tiles, const std::uint16_t* a, std::int64_t a_stride, const std::uint16_t* b, Begin begin) {
  tiles.load<4>(a, 2 * a_stride), tiles.load_once<6>(b, 64);
  begin.template operator()<0>();
  tiles.add_products<0, 4, 6>();
  tiles.load_once<7>(b + kTileValues, 64);
  begin.template operator()<1>();
  tiles.add_products<1, 4, 7>();
  tiles.load<5>(a + kSide * a_stride, 2 * a_stride);
  begin.template operator()<2>();
  tiles.add_products<2, 5, 6>();
  begin.template operator()<3>();
  tiles.add_products<3, 5, 7>();
}

// The scores of `next`, while those of `before`, if any, become weights.
void score(Tiles& tiles, const Strip& next, const std::uint16_t* keys, std::int64_t units, const Strip& before) {
  const AttentionTileRows& to = *next.to;
  const std::int64_t steps = to.head_dim / kStep, share = (kTileRows + units * steps - 1) / (units * steps), stride = query_stride(to);
  const std::uint16_t *q = to.q + next.first_row * stride, *b = keys + next.first_key * to.head_dim;
  std::int64_t row = before.to ? 0 : kTileRows;
  const auto weigh_some = [&]() __attribute__((always_inline)) {
    for (const std::int64_t end = row + share; row < end && row < kTileRows; ++row) weigh(before, row);
  };
  float* scores = nullptr;
  for (std::int64_t u = 0; u < units; ++u) {
    multiply(tiles, q, stride, b, [&]<int tile>() __attribute__((always_inline)) { begin_sum<tile>(tiles, scores); });
    weigh_some(), b += 2 * kTileValues;
    for (std::int64_t s = 1; s < steps; ++s, b += 2 * kTileValues) multiply(tiles, q + kStep * s, stride, b, []<int>() {}), weigh_some();
    scores = next.scores[0] + kTileUnitKeys * u;
  }
  begin_sum<0>(tiles, scores), begin_sum<1>(tiles, scores), begin_sum<2>(tiles, scores), begin_sum<3>(tiles, scores);
}

// Adds weights times values of `units` units of keys to the accumulators of 32 rows.
void add_values(Tiles& tiles, const Strip& strip, const std::uint16_t* values, std::int64_t units) {
  const std::int64_t stride = accumulator_stride(*strip.to), row = 4 * stride;
  for (std::int64_t d = 0; d < strip.to->head_dim; d += kStep) {
    const std::uint16_t* b = values + d * kTileBlockKeys;
    float *above = strip.to->accumulator + strip.first_row * stride + d, *below = above + kSide * stride;
    if (strip.to->fresh) tiles.zero<0>(), tiles.zero<1>(), tiles.zero<2>(), tiles.zero<3>();
    else tiles.load_once<0>(above, row), tiles.load_once<1>(above + kSide, row), tiles.load_once<2>(below, row), tiles.load_once<3>(below + kSide, row);
    for (std::int64_t u = 0; u < units; ++u, b += 2 * kTileValues) multiply(tiles, strip.weights[0] + kStep * u, kWeightStride, b, []<int>() {});
    tiles.store<0>(above, row), tiles.store<1>(above + kSide, row), tiles.store<2>(below, row), tiles.store<3>(below + kSide, row);
  }
}

std::int64_t most_visible(const std::int64_t* visible, std::int64_t count) {
  std::int64_t most = 0;
  for (std::int64_t r = 0; r < kTileRows; ++r) most = visible[r] > most ? visible[r] : most;
  return most < count ? most : count;
}

std::int64_t units_of(std::int64_t keys) { return (keys + kTileUnitKeys - 1) / kTileUnitKeys; }

std::int64_t scratch_bytes() { return sizeof(Scratch); }

// Strip after strip, over the ends of tiles of rows: each is scored while the one before it is weighed.
void block(const AttentionTileRows& to, const std::uint16_t* keys, const std::uint16_t* values, std::int64_t count, std::byte* memory) {
  auto& scratch = *reinterpret_cast<Scratch*>(memory);
  Tiles tiles(kTiles);
  Strip before;
  std::int64_t units_before = 0;  // of keys that the rows of `before` see
  int turn = 0;
  for (std::int64_t first_row = 0; first_row < to.rows; first_row += kTileRows) {
    const std::int64_t seen = most_visible(to.visible + first_row, count);
    for (std::int64_t key = 0; key < seen; key += kStripKeys, turn ^= 1) {
      const Strip next{&to, first_row, key, count, scratch.scores[turn], scratch.weights};
      const std::int64_t left = units_of(seen - key);
      score(tiles, next, keys, left < 2 ? left : 2, before);
      if (key == 0 && before.to) add_values(tiles, before, values, units_before);
      before = next;
    }
    if (seen > 0) units_before = units_of(seen);
  }
  if (!before.to) return;
  for (std::int64_t r = 0; r < kTileRows; ++r) weigh(before, r);
  add_values(tiles, before, values, units_before);
}

void finish(const float* accumulator, std::int64_t dim, float* out) {
  const F16 inverse = broadcast(1.0f / sum(load(accumulator + dim)));
  for (std::int64_t i = 0; i < dim; i += 16) store(out + i, inverse * load(accumulator + i));
}

// ---- operands ----

void pack_query(const float* q, float scale, std::int64_t dim, std::uint16_t* to) {
  for (std::int64_t i = 0; i < dim; i += kStep) narrow_query(q + i, scale * kLog2E, to + i);
}

// to[k * 16 + r] = pair k of row r; rows from `count` on are zeros.
void turn_pairs(const std::uint16_t* rows, std::int64_t stride, std::int64_t count, std::uint16_t* to) {
  if (count >= kSide) return transpose_16x16(reinterpret_cast<const float*>(rows), stride / 2, reinterpret_cast<float*>(to), kSide);
  alignas(64) float copy[kSide][kSide] = {};
  for (std::int64_t r = 0; r < count; ++r) __builtin_memcpy(copy[r], rows + r * stride, sizeof copy[r]);
  transpose_16x16(copy[0], kSide, reinterpret_cast<float*>(to), kSide);
}

// Of a block: [unit][head_dim / 32][2 halves of the unit][16 pairs of features][16 keys].
void pack_keys(const std::uint16_t* rows, std::int64_t stride, std::int64_t count, std::int64_t dim, std::int64_t unit, std::uint16_t* block) {
  std::uint16_t* to = block + unit * kTileUnitKeys * dim;
  for (std::int64_t i = 0; i < dim; i += kStep)
    for (std::int64_t half = 0; half < kTileUnitKeys; half += kSide, to += kTileValues) turn_pairs(rows + half * stride + i, stride, count - half, to);
}

// Of a block: [head_dim / 32][unit][2 halves of 32 features][16 pairs of keys][16 features].
void pack_values(const std::uint16_t* rows, std::int64_t stride, std::int64_t count, std::int64_t dim, std::int64_t unit, std::uint16_t* block) {
  static constexpr std::uint16_t kZeros[kStep] = {};
  for (std::int64_t d = 0; d < dim; d += kStep) {
    std::uint16_t* to = block + (d * kUnits + unit * kStep) * kStep;
    for (std::int64_t t = 0; t < kTileUnitKeys; t += 2, to += kStep)
      interleave(t < count ? rows + t * stride + d : kZeros, t + 1 < count ? rows + (t + 1) * stride + d : kZeros, to, to + kTileValues);
  }
}

}  // namespace

extern const AttentionTilesMicro attention_tiles;
const AttentionTilesMicro attention_tiles = {pack_query, pack_keys, pack_values, scratch_bytes, block, finish, few_scores, few_weights, few_values};

}  // namespace crossover::cpu::CROSSOVER_ISA
