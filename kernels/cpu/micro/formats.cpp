#include "kernels/formats/formats.h"

#include "kernels/cpu/micro.h"
#include "kernels/cpu/micro/format_rows.h"

namespace crossover::cpu::CROSSOVER_ISA {
namespace {

void quantize_f32(const float* from, std::byte* to, std::int64_t values) {
  __builtin_memcpy(to, from, static_cast<std::size_t>(values) * sizeof(float));
}
void dequantize_f32(const std::byte* from, float* to, std::int64_t values) {
  __builtin_memcpy(to, from, static_cast<std::size_t>(values) * sizeof(float));
}

#if !defined(__AVX2__)

// Without vectors of this project's width the plain loops are as good as any.
template <DType type>
void plain_quantize(const float* from, std::byte* to, std::int64_t values) {
  quantize_fn(type)(from, to, values);
}
template <DType type>
void plain_dequantize(const std::byte* from, float* to, std::int64_t values) {
  dequantize_fn(type)(from, to, values);
}

#endif

}  // namespace

extern const FormatsMicro formats;

#if defined(__AVX2__)
const FormatsMicro formats = {
    {quantize_f32, quantize_f16, quantize_bf16, quantize_q8_0, quantize_q6_k, quantize_q4_0, quantize_q4_1,
     quantize_q5_0, quantize_q5_1},
    {dequantize_f32, dequantize_f16, dequantize_bf16, dequantize_q8_0, dequantize_q6_k, dequantize_q4_0,
     dequantize_q4_1, dequantize_q5_0, dequantize_q5_1},
    convert,
};
#else
const FormatsMicro formats = {
    {quantize_f32, plain_quantize<DType::kF16>, plain_quantize<DType::kBF16>, plain_quantize<DType::kQ8_0>,
     plain_quantize<DType::kQ6_K>, plain_quantize<DType::kQ4_0>, plain_quantize<DType::kQ4_1>,
     plain_quantize<DType::kQ5_0>, plain_quantize<DType::kQ5_1>},
    {dequantize_f32, plain_dequantize<DType::kF16>, plain_dequantize<DType::kBF16>, plain_dequantize<DType::kQ8_0>,
     plain_dequantize<DType::kQ6_K>, plain_dequantize<DType::kQ4_0>, plain_dequantize<DType::kQ4_1>,
     plain_dequantize<DType::kQ5_0>, plain_dequantize<DType::kQ5_1>},
    convert,
};
#endif

}  // namespace crossover::cpu::CROSSOVER_ISA
