// The inner loops that depend on the instruction set. Every file of kernels/cpu/micro/ is compiled once per instruction set with
// its target flags and CROSSOVER_ISA = portable | avx2 | avx512, and defines its table in namespace crossover::cpu::CROSSOVER_ISA.
// Those files may use nothing that leaves an inline function outside that namespace (no std:: algorithm or container): the
// linker would merge the copies and an AVX-512 one could end up under an AVX2 caller. Single-threaded and free of checks:
// threads and shapes are the operations' job (kernels/cpu/*.cpp).
#pragma once

#include <cstdint>

#include "kernels/cpu/isa.h"
#include "kernels/tensor.h"

namespace crossover::cpu {

// Bytes equal to kernels/formats for every finite input. Indexed by DType.
struct FormatsMicro {
  void (*quantize[kDTypeCount])(const float* from, std::byte* to, std::int64_t values);
  void (*dequantize[kDTypeCount])(const std::byte* from, float* to, std::int64_t values);
};

inline constexpr std::int64_t kMatvecTokens = 4;  // activation rows that one pass over the weights serves
inline constexpr std::int64_t kPanelRows = 32;    // weight rows of one GEMM panel

struct MatmulMicro {
  const char* matvec_path[kDTypeCount];  // what a result calls it: "avx512-vnni-int8", "avx2-f32"
  // Bytes of one activation row as `matvec` of this weight type wants it, and the conversion.
  std::int64_t (*packed_bytes)(DType weight, std::int64_t dim);
  void (*pack)(DType weight, const float* x, std::int64_t dim, std::byte* packed);
  // out[t*out_stride + n] = dot(weight row n, activation row t), n < rows, t < tokens <= kMatvecTokens.
  void (*matvec)(DType weight, const std::byte* w, std::int64_t row_bytes, std::int64_t rows, std::int64_t dim, const std::byte* packed,
                 std::int64_t packed_stride, std::int64_t tokens, float* out, std::int64_t out_stride);
  // Panel [k][kPanelRows] from up to kPanelRows f32 rows; missing rows are zeros.
  void (*pack_panel)(const float* rows, std::int64_t row_stride, std::int64_t row_count, std::int64_t k, float* panel);
  // c[t*c_stride + n] (+)= sum_k a[t*a_stride + k] * panel[k*kPanelRows + n], t < tokens, n < cols <= kPanelRows.
  void (*gemm_panel)(const float* a, std::int64_t a_stride, const float* panel, std::int64_t k, std::int64_t tokens, float* c,
                     std::int64_t c_stride, std::int64_t cols, bool accumulate);
};

// One value head, head_dim 128; strides in floats between tokens; state [128 (k), 128 (v)] in place.
struct GdnMicro {
  void (*recurrent_head)(const float* q, const float* k, std::int64_t qk_stride, const float* v, std::int64_t v_stride, const float* g,
                         const float* beta, std::int64_t gate_stride, std::int64_t tokens, float* state, float* out,
                         std::int64_t out_stride);
  void (*chunk_head)(const float* q, const float* k, std::int64_t qk_stride, const float* v, std::int64_t v_stride, const float* g,
                     const float* beta, std::int64_t gate_stride, std::int64_t tokens /* <= 64 */, float* state, float* out,
                     std::int64_t out_stride, float* scratch /* chunk_scratch_floats */);
  std::int64_t chunk_scratch_floats;
};

struct AttentionMicro {
  // One tile of query rows against one block of f32 keys and values [key_count, head_dim]; row r sees keys < visible[r].
  // Streaming softmax: row_max, row_sum [rows] and accumulator [rows, head_dim] carry over between blocks.
  void (*tile)(const float* q, std::int64_t q_stride, std::int64_t rows, std::int64_t head_dim, const float* keys, std::int64_t key_stride,
               const float* values, std::int64_t value_stride, std::int64_t key_count, const std::int64_t* visible, float scale,
               float* row_max, float* row_sum, float* accumulator, float* scratch /* rows * key_count */);
};

struct RowsMicro {
  void (*rms_norm)(const float* x, const float* weight, float eps, std::int64_t dim, float* out);
  void (*l2_norm)(const float* x, float eps, float scale, std::int64_t dim, float* out);
  void (*gated_rms_norm)(const float* x, const float* weight, const float* z, float eps, std::int64_t dim, float* out);
  void (*add)(float* x, const float* y, std::int64_t dim);
  void (*axpy)(float* x, float a, const float* y, std::int64_t dim);  // x += a * y
  void (*swiglu)(const float* gate, const float* up, std::int64_t dim, float* out);
  void (*sigmoid_gate)(float* x, const float* gate, std::int64_t dim);
  // One token: x3 is three tokens back, x0 the current one; weight [channels, 4].
  void (*conv4_silu)(const float* x3, const float* x2, const float* x1, const float* x0, const float* weight, std::int64_t channels,
                     float* out);
};

struct Micro {
  Isa isa;
  const FormatsMicro* formats;
  const MatmulMicro* matmul;
  const GdnMicro* gdn;
  const AttentionMicro* attention;
  const RowsMicro* rows;
};

#define CROSSOVER_DECLARE_MICRO(isa)      \
  namespace isa {                         \
  extern const FormatsMicro formats;      \
  extern const MatmulMicro matmul;        \
  extern const GdnMicro gdn;              \
  extern const AttentionMicro attention;  \
  extern const RowsMicro rows;            \
  }
CROSSOVER_DECLARE_MICRO(portable)
CROSSOVER_DECLARE_MICRO(avx2)
CROSSOVER_DECLARE_MICRO(avx512)
#undef CROSSOVER_DECLARE_MICRO

}  // namespace crossover::cpu
