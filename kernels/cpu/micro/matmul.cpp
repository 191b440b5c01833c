// The table of matrix products. Block formats with few tokens: int8 activations and integer dot products. Float weights: f32.
#include "kernels/cpu/micro.h"
#include "kernels/cpu/micro/gemm_bf16.h"
#include "kernels/cpu/micro/gemm_f32.h"
#include "kernels/cpu/micro/gemm_int16.h"
#include "kernels/cpu/micro/gemm_int8.h"
#include "kernels/cpu/micro/int8_row.h"
#include "kernels/cpu/micro/matvec_block32.h"
#include "kernels/cpu/micro/matvec_float.h"
#include "kernels/cpu/micro/matvec_q6_k.h"

namespace crossover::cpu::CROSSOVER_ISA {
namespace {

using MatvecFn = void (*)(const std::byte* w, std::int64_t weight_rows, std::int64_t dim, const std::byte* packed, float* out, std::int64_t out_stride);

template <int kTokens>
MatvecFn matvec_fn(DType weight) {
  switch (weight) {
    case DType::kF32: return matvec_float<F32Weight, kTokens>;
    case DType::kF16: return matvec_float<HalfWeight, kTokens>;
    case DType::kBF16: return matvec_float<BF16Weight, kTokens>;
    case DType::kQ8_0: return matvec_block32<Q80Weight, kTokens>;
    case DType::kQ6_K: return matvec_q6_k<kTokens>;
    case DType::kQ4_0: return matvec_block32<Q40Weight, kTokens>;
    case DType::kQ4_1: return matvec_block32<Q41Weight, kTokens>;
    case DType::kQ5_0: return matvec_block32<Q50Weight, kTokens>;
    case DType::kQ5_1: return matvec_block32<Q51Weight, kTokens>;
  }
  return nullptr;
}

void matvec(DType weight, const std::byte* w, std::int64_t weight_rows, std::int64_t dim, const std::byte* packed, std::int64_t tokens, float* out,
            std::int64_t out_stride) {
  const MatvecFn fn = tokens == 1 ? matvec_fn<1>(weight) : tokens == 2 ? matvec_fn<2>(weight) : tokens == 3 ? matvec_fn<3>(weight) : matvec_fn<4>(weight);
  fn(w, weight_rows, dim, packed, out, out_stride);
}

constexpr bool is_float(DType weight) { return weight == DType::kF32 || weight == DType::kF16 || weight == DType::kBF16; }

std::int64_t packed_bytes(DType weight, std::int64_t dim) {
  return is_float(weight) ? (dim + 15) / 16 * 64 : int8_blocks(dim) * static_cast<std::int64_t>(sizeof(Int8Block));
}

void pack(DType weight, const float* x, std::int64_t dim, std::byte* packed) {
  if (!is_float(weight)) return quantize_row(x, dim, reinterpret_cast<Int8Block*>(packed));
  float* to = reinterpret_cast<float*>(packed);
  for (std::int64_t k = 0; k < dim; ++k) to[k] = x[k];
  for (std::int64_t k = dim; k % 16 != 0; ++k) to[k] = 0.0f;
}

constexpr const Gemm& gemm_of([[maybe_unused]] DType weight) {
#if defined(__AVX512BF16__)
  if (weight == DType::kBF16) return kBf16Gemm;
#endif
#if defined(__AVX512F__)
  if (weight == DType::kQ6_K) return kInt16Gemm;
  if (!is_float(weight)) return kInt8Gemm;
#endif
  return kF32Gemm;
}

std::int64_t tile_bytes(DType weight, std::int64_t dim) { return gemm_of(weight).tile_bytes(dim); }
std::int64_t panel_bytes(DType weight, std::int64_t dim) { return gemm_of(weight).panel_bytes(dim); }
void pack_tile(DType weight, const float* const* x, std::int64_t tokens, std::int64_t dim, std::byte* tile) {
  gemm_of(weight).pack_tile(weight, x, tokens, dim, tile);
}
void gemm(DType weight, const std::byte* w, std::int64_t weight_rows, std::int64_t dim, const std::byte* tiles, std::int64_t tokens, float* out,
          std::int64_t out_stride, std::byte* panel) {
  gemm_of(weight).multiply(weight, w, weight_rows, dim, tiles, tokens, out, out_stride, panel);
}

#if defined(__AVX512F__)
constexpr const char *kFloat = "avx512-f32", *kInt8 = "avx512-vnni-int8";
#elif defined(__AVX2__)
constexpr const char *kFloat = "avx2-f32", *kInt8 = "avx2-int8";
#else
constexpr const char *kFloat = "portable-f32", *kInt8 = "portable-int8";
#endif
#if defined(__AVX512BF16__)
constexpr std::int64_t kBf16From = 16;
#else
constexpr std::int64_t kBf16From = 64;
#endif

}  // namespace

// Order of DType: f32, f16, bf16, q8_0, q6_k, q4_0, q4_1, q5_0, q5_1.
extern const MatmulMicro matmul;
const MatmulMicro matmul = {
    {kFloat, kFloat, kFloat, kInt8, kInt8, kInt8, kInt8, kInt8, kInt8},
    {gemm_of(DType::kF32).path, gemm_of(DType::kF16).path, gemm_of(DType::kBF16).path, gemm_of(DType::kQ8_0).path, gemm_of(DType::kQ6_K).path,
     gemm_of(DType::kQ4_0).path, gemm_of(DType::kQ4_1).path, gemm_of(DType::kQ5_0).path, gemm_of(DType::kQ5_1).path},
    {48, 64, kBf16From, 16, 16, 16, 16, 16, 16},
    packed_bytes, pack, matvec, tile_bytes, pack_tile, panel_bytes, gemm};

}  // namespace crossover::cpu::CROSSOVER_ISA
