// Products of every (token, choice) pair with its expert's weights, one weight at a time in f32: exact for f32 weights, and what any mix of
// types and any shape can take.
#pragma once

#include "kernels/ops.h"

namespace crossover::cuda::moe {

// expert_out [T*k, H] = down(silu(gate x) * (up x)), rows by pair, contiguous; those of an id that is no expert are not written.
void multiply_pairs(Context& ctx, const MoeExperts& moe, float* expert_out);

}  // namespace crossover::cuda::moe
