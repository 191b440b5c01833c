// The scalar row conversions behind quantize_fn and dequantize_fn, one pair per type.
#pragma once

#include "kernels/formats/formats.h"

namespace crossover {

void quantize_f16(const float* from, std::byte* to, std::int64_t values);
void quantize_bf16(const float* from, std::byte* to, std::int64_t values);
void quantize_q8_0(const float* from, std::byte* to, std::int64_t values);
void quantize_q6_k(const float* from, std::byte* to, std::int64_t values);
void quantize_q4_0(const float* from, std::byte* to, std::int64_t values);
void quantize_q4_1(const float* from, std::byte* to, std::int64_t values);
void quantize_q5_0(const float* from, std::byte* to, std::int64_t values);
void quantize_q5_1(const float* from, std::byte* to, std::int64_t values);

void dequantize_f16(const std::byte* from, float* to, std::int64_t values);
void dequantize_bf16(const std::byte* from, float* to, std::int64_t values);
void dequantize_q8_0(const std::byte* from, float* to, std::int64_t values);
void dequantize_q6_k(const std::byte* from, float* to, std::int64_t values);
void dequantize_q4_0(const std::byte* from, float* to, std::int64_t values);
void dequantize_q4_1(const std::byte* from, float* to, std::int64_t values);
void dequantize_q5_0(const std::byte* from, float* to, std::int64_t values);
void dequantize_q5_1(const std::byte* from, float* to, std::int64_t values);

// What x86 leaves in the low byte when a float does not fit the integer it is truncated to: a code of 0. Such codes
// arise only in blocks whose 1/d overflows, where ggml's own cast is undefined.
inline int truncate_code(float value) { return value > -256.0f && value < 256.0f ? static_cast<int>(value) : 0; }

}  // namespace crossover
