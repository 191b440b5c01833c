// The inner loops that depend on the instruction set. Every file of kernels/cpu/micro/ is compiled once per instruction set with
// its target flags and CROSSOVER_ISA = portable | avx2 | avx512 | avx512bf16 (those of kernels/cpu/tiles/ once, as amx), and defines its table in namespace crossover::cpu::CROSSOVER_ISA.
// Those files may use nothing that leaves an inline function outside that namespace (no std:: algorithm or container): the
// linker would merge the copies and an AVX-512 one could end up under an AVX2 caller. Single-threaded and free of checks:
// threads and shapes are the operations' job (kernels/cpu/*.cpp).
#pragma once

#include <cstdint>

#include "kernels/cpu/isa.h"
#include "kernels/rotation.h"
#include "kernels/tensor.h"

namespace crossover::cpu {

// Bytes equal to kernels/formats for every finite input; arrays are indexed by DType.
struct FormatsMicro {
  void (*quantize[kDTypeCount])(const float* from, std::byte* to, std::int64_t values);
  void (*dequantize[kDTypeCount])(const std::byte* from, float* to, std::int64_t values);
  // As convert_values (kernels/formats/formats.h), through strips of f32 that stay in the first-level cache.
  std::int64_t (*convert)(DType from, const std::byte* stored, DType to, std::byte* out, std::int64_t values);
};

inline constexpr std::int64_t kMatvecTokens = 4;  // activation rows that one pass over the weights serves
inline constexpr std::int64_t kTileTokens = 12;   // activation rows of one packed GEMM tile

// Both paths give a row of `out` the same bits whatever rows it is computed beside; the two paths differ in rounding.
// Weights are rows of row_bytes(weight, dim) bytes, one after the other.
struct MatmulMicro {
  const char* matvec_path[kDTypeCount];         // what a result calls it: "avx512-vnni-int8", "avx2-f32"
  const char* gemm_path[kDTypeCount];
  std::int64_t gemm_from_tokens[kDTypeCount];   // fewer tokens are faster by matvec

  // Bytes of one activation row as `matvec` of this weight type wants it (a multiple of 64), and the conversion.
  std::int64_t (*packed_bytes)(DType weight, std::int64_t dim);
  void (*pack)(DType weight, const float* x, std::int64_t dim, std::byte* packed);
  // out[t*out_stride + n] = dot(weight row n, activation row t), n < rows, t < tokens <= kMatvecTokens.
  void (*matvec)(DType weight, const std::byte* w, std::int64_t rows, std::int64_t dim, const std::byte* packed, std::int64_t tokens,
                 float* out, std::int64_t out_stride);

  // Bytes of a tile of up to kTileTokens activation rows as `gemm` of this weight type wants it (a multiple of 64).
  std::int64_t (*tile_bytes)(DType weight, std::int64_t dim);
  void (*pack_tile)(DType weight, const float* const* rows, std::int64_t tokens, std::int64_t dim, std::byte* tile);
  std::int64_t (*panel_bytes)(DType weight, std::int64_t dim);  // scratch of one worker
  // As matvec, for n < rows <= kPanelRows and any number of tokens in consecutive tiles.
  void (*gemm)(DType weight, const std::byte* w, std::int64_t rows, std::int64_t dim, const std::byte* tiles, std::int64_t tokens,
               float* out, std::int64_t out_stride, std::byte* panel);
};

// Products with Q6_K weights in Layout::kPanels (kernels/formats/panels.h). x[t]: the packed activations of token t. All paths give the
// same bits.
struct PanelMicro {
  const char *matvec_path, *gemm_path;
  std::int64_t gemm_from_tokens;  // fewer are faster by matvec
  // As pack_panel, the same bytes.
  void (*pack)(const std::byte* stored, std::int64_t first, std::int64_t rows, std::int64_t dim, std::byte* panel);
  // Bytes of one activation row (a multiple of 64), and the conversion; dim is a multiple of 256.
  std::int64_t (*activation_bytes)(std::int64_t dim);
  void (*pack_activations)(const float* x, std::int64_t dim, std::byte* to);
  // out[t*out_stride + n] for n < rows of consecutive panels, t < tokens <= kMatvecTokens: codes are unpacked in registers.
  void (*matvec)(const std::byte* panels, std::int64_t rows, std::int64_t dim, const std::byte* const* x, std::int64_t tokens, float* out,
                 std::int64_t out_stride);
  // As matvec, for one panel (rows <= kPanelRows) and any number of tokens: codes are unpacked once, to scratch of one worker. Panel
  // `next` of the same size is brought to the cache meanwhile; or null.
  std::int64_t (*scratch_bytes)(std::int64_t dim);
  void (*gemm)(const std::byte* panel, std::int64_t rows, std::int64_t dim, const std::byte* const* x, std::int64_t tokens, float* out,
               std::int64_t out_stride, const std::byte* next, std::byte* scratch);
};

inline constexpr std::int64_t kMostTileTokens = 16;

// Products of many tokens where tiles are multiplied: activations are converted to tiles of `tokens` <= kMostTileTokens rows, weights and
// activations rounded to bf16, sums are f32. A row of `out` has the same bits whatever rows it is computed beside, but not those of the
// other ways.
struct GemmTilesMicro {
  // Consecutive rows of one type; of Q6_K whole panels. With `up` out = silu(x gate^T) * (x up^T), else x gate^T.
  struct Weights {
    DType dtype;
    const std::byte *gate, *up;
    std::int64_t rows;
  };
  const char* (*path)(DType weight);
  // Fewer tokens are faster, or as fast, in another way; 0: weights of this kind are not multiplied by tiles.
  std::int64_t (*from_tokens)(DType weight, Layout layout, std::int64_t dim);
  std::int64_t tokens;
  std::int64_t most_panels;  // of kPanelRows rows in one call, gate and up together
  std::int64_t (*packed_bytes)(std::int64_t tokens, std::int64_t dim);  // a multiple of 64
  // Tile `tile` of an operand of `tokens` rows, which are its own; `packed`: of the whole operand.
  void (*pack_tile)(DType weight, const float* const* rows, std::int64_t tile, std::int64_t tokens, std::int64_t dim, std::byte* packed);
  std::int64_t (*scratch_bytes)();  // of one worker
  // out[t*out_stride + n] for n < rows and any number of tokens.
  void (*gemm)(const Weights& weights, std::int64_t dim, const std::byte* packed, std::int64_t tokens, float* out, std::int64_t out_stride, std::byte* scratch);
};

inline constexpr std::int64_t kGdnHeadDim = 128;
inline constexpr std::int64_t kGdnBlockTokens = 128;

// Some consecutive tokens of one value head; strides in floats between tokens.
struct GdnHead {
  const float *q, *k, *v;                              // [tokens, 128]
  std::int64_t q_stride, k_stride, v_stride;
  const float *g, *beta;                               // [tokens]
  std::int64_t g_stride, beta_stride;
  std::int64_t tokens;
  float* state;                                        // [128 (k), 128 (v)], in place
  float* out;                                          // [tokens, 128]
  std::int64_t out_stride;
  // Rows of 128 floats, as many as tokens, that the caller turns to next, or null: who has time brings them to the second-level cache.
  struct Soon { const float* rows = nullptr; std::int64_t stride = 0; } soon[3];
  const float* next_state;                             // of the head that follows, or null: one token at a time brings it closer
};

// The chunked scan with products of one precision, a block of up to kGdnBlockTokens tokens at a time: first what all value heads
// of a key head share, from q and k alone, then each of these heads. Memory is 64-byte aligned.
struct GdnChunks {
  const char* path;  // what a result calls it: "avx512-chunked-f32"
  void (*keys)(const GdnHead& head, void* keys);
  void (*head)(const GdnHead& head, const void* keys, void* scratch);
  std::int64_t keys_bytes, scratch_bytes;
  std::int64_t chunk_tokens;  // calls that begin at multiples of it give the same bits as one call
  bool reads_apart;           // rows may lie pages apart; else it is faster to copy them side by side first
  std::int64_t from_tokens;   // fewer are faster token by token
};

struct GdnMicro {
  const char* recurrent_path;
  void (*recurrent_head)(const GdnHead& head);  // the same bits however the tokens are split into calls
  // g = ssm_a softplus(a + dt_bias) and beta = sigmoid(b) of one head.
  void (*gates)(const float* a, std::int64_t a_stride, const float* b, std::int64_t b_stride, float ssm_a, float dt_bias, std::int64_t tokens,
                float* g, float* beta);
  GdnChunks chunked;                            // the fastest
  GdnChunks chunked_f32;                        // the same where bf16 is not faster
};

inline constexpr std::int64_t kAttentionPanel = 32;  // keys, or features of a value, of one packed panel

// Streaming softmax of some query rows (already scaled) against one block of f32 keys and values of one KV head. Row r sees the
// first visible[r] keys. row_max (-inf at first), row_sum (0) and accumulator [rows, accumulator_stride] (0) carry over.
struct AttentionMicro {
  // Panels [ceil(count / 32)][head_dim][32] of keys and [ceil(head_dim / 32)][count][32] of values; missing columns are zeros.
  void (*pack_keys)(const float* keys, std::int64_t key_stride, std::int64_t count, std::int64_t head_dim, float* panels);
  void (*pack_values)(const float* values, std::int64_t value_stride, std::int64_t count, std::int64_t head_dim, float* panels);
  // Many rows, packed operands. The accumulator has ceil(head_dim / 32) * 32 columns; scratch holds rows * round_up(count, 32).
  void (*tile)(const float* q, std::int64_t q_stride, std::int64_t rows, std::int64_t head_dim, const float* key_panels,
               const float* value_panels, std::int64_t count, const std::int64_t* visible, float* row_max, float* row_sum,
               float* accumulator, std::int64_t accumulator_stride, float* scratch);
  // Few rows: keys and values are read where they lie. scratch holds rows * round_up(count, 32).
  void (*few_rows)(const float* q, std::int64_t q_stride, std::int64_t rows, std::int64_t head_dim, const float* keys,
                   std::int64_t key_stride, const float* values, std::int64_t value_stride, std::int64_t count,
                   const std::int64_t* visible, float* row_max, float* row_sum, float* accumulator, std::int64_t accumulator_stride,
                   float* scratch);
};

using NarrowRow = void (*)(const std::byte* from, std::uint16_t* to, std::int64_t head_dim);  // one head's columns of a cache row to bf16

inline constexpr std::int64_t kPairBlockKeys = 256;  // keys of a packed block
inline constexpr std::int64_t kPairTileRows = 24;    // query rows of one tile: 3 tokens of 8 heads, 4 of 6

// The same with bf16 operands, two neighbours along the sum per 32-bit lane, and f32 sums. Rows of bf16 hold head_dim values (a multiple
// of 16), strides count values. Avx512bf16 only.
struct AttentionPairsMicro {
  NarrowRow narrow[kDTypeCount];
  void (*pack_query)(const float* q, float scale, std::int64_t head_dim, std::uint16_t* to);
  // Panels [ceil(count / 32)][head_dim / 2][32 keys] of keys and [ceil(head_dim / 32)][ceil(count / 2)][32 features] of values; what
  // is missing is zeros. Room for round_up(count, 32) * head_dim, and for round_up(count, 2) * round_up(head_dim, 32) values.
  void (*pack_keys)(const std::uint16_t* rows, std::int64_t stride, std::int64_t count, std::int64_t head_dim, std::uint16_t* panels);
  void (*pack_values)(const std::uint16_t* rows, std::int64_t stride, std::int64_t count, std::int64_t head_dim, std::uint16_t* panels);
  // As AttentionMicro::tile for rows <= kPairTileRows and count <= kPairBlockKeys; scratch: kPairTileRows * (kPairBlockKeys + 32).
  void (*tile)(const std::uint16_t* q, std::int64_t q_stride, std::int64_t rows, std::int64_t head_dim, const std::uint16_t* key_panels,
               const std::uint16_t* value_panels, std::int64_t count, const std::int64_t* visible, float* row_max, float* row_sum,
               float* accumulator, std::int64_t accumulator_stride, float* scratch);
  // Few rows, keys and values as rows: scores[r*stride + n] = q row . key row; then, in place, bf16 weights, zero from `visible` to the
  // next multiple of 32; then accumulator += weights of keys first_key (even) .. first_key + count - 1 times their values.
  void (*score)(const std::uint16_t* q, std::int64_t q_stride, std::int64_t rows, const std::uint16_t* keys, std::int64_t key_stride,
                std::int64_t count, std::int64_t head_dim, float* scores, std::int64_t stride);
  void (*weigh)(float* scores, std::int64_t stride, std::int64_t rows, std::int64_t count, const std::int64_t* visible, float* row_max,
                float* row_sum);
  void (*accumulate)(const float* weights, std::int64_t stride, std::int64_t first_key, std::int64_t rows, const std::uint16_t* values,
                     std::int64_t value_stride, std::int64_t count, std::int64_t head_dim, float* accumulator, std::int64_t accumulator_stride);
};

inline constexpr std::int64_t kTileUnitKeys = 32;    // keys that are packed at once
inline constexpr std::int64_t kTileBlockKeys = 512;  // of a packed block
inline constexpr std::int64_t kTileRows = 32;        // query rows of one tile: 4 tokens of 8 heads
inline constexpr std::int64_t kTileQueryPad = 32, kTileAccumulatorPad = 16;  // values behind each row, so that rows do not share cache sets

// Query rows of one KV head with what streaming softmax carries along; `rows` and memory for kTileRows at a time.
struct AttentionTileRows {
  std::int64_t rows, head_dim;  // multiples of 32
  const std::uint16_t* q;       // [rows, head_dim + kTileQueryPad]
  const std::int64_t* visible;  // [rows]: of the keys of the block; any that are 0 or less see nothing
  float* row_max;               // [rows], a score to base 2 that weights are relative to; -inf at first
  float* accumulator;           // [rows, head_dim + kTileAccumulatorPad], the sums of weights times values
  bool fresh;                   // these are to be begun. What adds up to the sum of the weights, in the pad, is 0 at first
};

// The same where tiles are multiplied: bf16 operands, f32 sums. A row has the same bits whatever rows it is computed beside.
struct AttentionTilesMicro {
  void (*pack_query)(const float* q, float scale, std::int64_t head_dim, std::uint16_t* to);
  // Up to kTileUnitKeys rows of bf16, `stride` values apart, to unit `unit` of a block [kTileBlockKeys * head_dim]; missing ones are zeros.
  void (*pack_keys)(const std::uint16_t* rows, std::int64_t stride, std::int64_t count, std::int64_t head_dim, std::int64_t unit, std::uint16_t* block);
  void (*pack_values)(const std::uint16_t* rows, std::int64_t stride, std::int64_t count, std::int64_t head_dim, std::int64_t unit, std::uint16_t* block);
  std::int64_t (*scratch_bytes)();
  // All rows against the first `count` keys of a block.
  void (*block)(const AttentionTileRows& to, const std::uint16_t* keys, const std::uint16_t* values, std::int64_t count, std::byte* scratch);
  void (*finish)(const float* accumulator, std::int64_t head_dim, float* out);  // one row over the sum of its weights
  // Up to 32 rows, keys and values as rows of bf16. Queries as pack_keys packs a unit; key rows can be read up to the next multiple of 16.
  // scores[r*stride + n] for n < count up to the next multiple of 16.
  void (*few_scores)(const std::uint16_t* queries, std::int64_t rows, const std::uint16_t* keys, std::int64_t key_stride, std::int64_t count,
                     std::int64_t head_dim, float* scores, std::int64_t stride);
  // Weights of all of a split's keys up to the next multiple of 64; row_max is -inf at first, row_sum is set.
  void (*few_weights)(float* scores, std::int64_t stride, std::int64_t rows, std::int64_t count, const std::int64_t* visible, std::uint16_t* weights,
                      std::int64_t weight_stride, float* row_max, float* row_sum);
  // accumulator += weights * values; both with room for 32 rows where rows > 16.
  void (*few_values)(const std::uint16_t* weights, std::int64_t weight_stride, std::int64_t rows, const std::uint16_t* values, std::int64_t value_stride,
                     std::int64_t count, std::int64_t head_dim, float* accumulator, std::int64_t accumulator_stride);
};

struct RowsMicro {
  void (*rms_norm)(const float* x, const float* weight, float eps, std::int64_t dim, float* out);
  void (*norm_rope)(float* x, const float* weight, float eps, std::int64_t dim, const float* angles, std::int64_t rotary_dim);  // one head
  void (*rotate)(Rotation rotation, bool back, const float* x, std::int64_t dim, float* out);  // one head; out may be x
  void (*l2_norm)(const float* x, float eps, float scale, std::int64_t dim, float* out);
  void (*gated_rms_norm)(const float* x, const float* weight, const float* z, float eps, std::int64_t dim, float* out);
  void (*add)(float* x, const float* y, std::int64_t dim);
  void (*axpy)(float* x, float a, const float* y, std::int64_t dim);  // x += a * y
  void (*swiglu)(const float* gate, const float* up, std::int64_t dim, float* out);
  void (*sigmoid_gate)(float* x, const float* gate, std::int64_t dim);
  // Causal convolution of four taps and SiLU, weight [channels, 4] with tap 3 for the current token. `before` is the row three
  // tokens back from x; rows of `before` lie before_stride apart.
  void (*conv4_silu)(const float* before, std::int64_t before_stride, const float* x, std::int64_t x_stride, const float* weight,
                     std::int64_t channels, std::int64_t tokens, float* out, std::int64_t out_stride);
};

struct Micro {
  Isa isa;
  const FormatsMicro* formats;
  const MatmulMicro* matmul;
  const PanelMicro* panels;
  const GdnMicro* gdn;
  const AttentionMicro* attention;
  const RowsMicro* rows;
  const AttentionPairsMicro* attention_pairs = nullptr;  // of instruction sets that multiply pairs of bf16
  const GemmTilesMicro* gemm_tiles = nullptr;            // of those that multiply tiles
  const AttentionTilesMicro* attention_tiles = nullptr;  // of those that multiply tiles
  const NarrowRow* narrow = nullptr;                     // [kDTypeCount], of those that have an instruction for it
};

#define CROSSOVER_DECLARE_MICRO(isa)      \
  namespace isa {                         \
  extern const FormatsMicro formats;      \
  extern const MatmulMicro matmul;        \
  extern const PanelMicro panels;         \
  extern const GdnMicro gdn;              \
  extern const AttentionMicro attention;  \
  extern const RowsMicro row_ops;         \
  }
CROSSOVER_DECLARE_MICRO(portable)
CROSSOVER_DECLARE_MICRO(avx2)
CROSSOVER_DECLARE_MICRO(avx512)
CROSSOVER_DECLARE_MICRO(avx512bf16)
#undef CROSSOVER_DECLARE_MICRO
namespace avx512 { extern const PanelMicro prefetched_panels; }  // the same bits, for CPUs whose prefetchers need help
namespace avx512bf16 {
extern const PanelMicro prefetched_panels;
extern const AttentionPairsMicro attention_pairs;
}

}  // namespace crossover::cpu
