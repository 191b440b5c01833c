// Attention of few rows on tiles (attention_few.cpp), entries of AttentionTilesMicro.
#pragma once

#include <cstdint>

namespace crossover::cpu::CROSSOVER_ISA {

void few_scores(const std::uint16_t* queries, std::int64_t rows, const std::uint16_t* keys, std::int64_t key_stride, std::int64_t count, std::int64_t head_dim,
                float* scores, std::int64_t stride);
void few_weights(float* scores, std::int64_t stride, std::int64_t rows, std::int64_t count, const std::int64_t* visible, std::uint16_t* weights,
                 std::int64_t weight_stride, float* row_max, float* row_sum);
void few_values(const std::uint16_t* weights, std::int64_t weight_stride, std::int64_t rows, const std::uint16_t* values, std::int64_t value_stride,
                std::int64_t count, std::int64_t head_dim, float* accumulator, std::int64_t accumulator_stride);

}  // namespace crossover::cpu::CROSSOVER_ISA
