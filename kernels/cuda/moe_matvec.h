// Experts of few tokens: every (token, choice) pair reads its expert's weights once, in two launches for the whole pass.
#pragma once

#include "kernels/cuda/moe_combine.h"

namespace crossover::cuda::moe {

// inner [T*k, Im] = silu(gate x) * (up x), rows by pair, 16-byte aligned and contiguous; those of an id that is no expert are not written.
// in_units(gate), in_units(up), of one type.
void matvec_gate_up(Context& ctx, const MoeExperts& moe, const Choices& choices, float* inner);

// out [T, H] = the weighted sum of down inner over a token's choices, in the order of order_choices. in_units(down).
void matvec_down(Context& ctx, const MoeExperts& moe, const Choices& choices, const float* inner, Rows out);

}  // namespace crossover::cuda::moe
