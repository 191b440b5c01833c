// Element formats of ggml: conversion of rows to and from f32. The plain loops here define the bytes: they equal ggml's
// reference quantizers built without floating-point contraction (block layouts: ggml-common.h; algorithm: ggml-quants.c).
// Vectorised versions (kernels/cpu) must give the same bytes for every input.
#pragma once

#include <cstdint>

#include "kernels/tensor.h"

namespace crossover {

// `values` is a whole number of blocks. Input must be finite: see first_not_finite.
using QuantizeFn = void (*)(const float* from, std::byte* to, std::int64_t values);
using DequantizeFn = void (*)(const std::byte* from, float* to, std::int64_t values);

QuantizeFn quantize_fn(DType to);        // scalar reference; f32 -> any type (f32 copies, f16/bf16 round to nearest even)
DequantizeFn dequantize_fn(DType from);  // scalar reference; exact for f16, bf16; ggml's operation order for block formats

float f16_to_f32(std::uint16_t bits);
std::uint16_t f32_to_f16(float value);   // round to nearest even, subnormals and overflow to infinity included
float bf16_to_f32(std::uint16_t bits);
std::uint16_t f32_to_bf16(float value);  // round to nearest even; NaN stays NaN

// Index of the first NaN or infinity, -1 when all are finite.
std::int64_t first_not_finite(const float* values, std::int64_t count);

// Index of the first value of the first block whose scale or minimum is NaN or infinite, -1 when none is. Block formats only;
// their codes are finite by construction, so all values of such a block are NaN or infinite and those of the others are not.
std::int64_t first_bad_scale(DType type, const std::byte* blocks, std::int64_t values);

// Rows of any type to any other, equal to dequantize, check, quantize; whole blocks of both types, no alignment asked of either
// side. Equal types copy, or with out == stored only check; otherwise the two may not overlap. Returns the index of the first
// value that is NaN or infinite (`out` is then unspecified from up to 255 values before it on), or -1. Scalar reference.
std::int64_t convert_values(DType from, const std::byte* stored, DType to, std::byte* out, std::int64_t values);

}  // namespace crossover
