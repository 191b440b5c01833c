// Operations of the cpu backend as ops.h describes them: threads and shapes around the inner loops of Context::micro.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/ops.h"

namespace crossover::cpu {

void embed(Context&, const Tensor& table, std::int64_t first_row, std::span<const std::int32_t> ids, Rows out);
void matmul(Context&, ConstRows x, const Tensor& weight, Rows out);
void moe_route(Context&, ConstRows logits, std::int64_t k, bool normalize, std::span<std::int32_t> ids, std::span<float> weights);
void moe_experts(Context&, const MoeExperts&, Rows out);

}  // namespace crossover::cpu
