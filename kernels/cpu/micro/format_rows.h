// The row conversions of this instruction set: the entries of FormatsMicro, those of one type where they have a vectorised form.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/tensor.h"

#ifndef CROSSOVER_ISA
#define CROSSOVER_ISA portable
#endif

namespace crossover::cpu::CROSSOVER_ISA {

std::int64_t convert(DType from, const std::byte* stored, DType to, std::byte* out, std::int64_t values);

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

}  // namespace crossover::cpu::CROSSOVER_ISA
