// Grouped products: every expert multiplies all its rows of the pass, in the tiles of moe_dispatch.h.
#pragma once

#include "kernels/cuda/moe_dispatch.h"

namespace crossover::cuda::moe {

// Rows of the tiles that both its products have kernels for.
int tallest_tile(const MoeExperts& moe);

// inner [pairs, bf16_stride(Im)] = silu(gate x) * (up x), rows by position, in quad order. x [T, bf16_stride(H)] as to_bf16_rows leaves it.
void grouped_gate_up(Context& ctx, const Dispatch& dispatch, const MoeExperts& moe, const Bf16* x, Bf16* inner);

// expert_out [pairs, H] = down inner, rows by pair; those of a pair without a position are not written.
void grouped_down(Context& ctx, const Dispatch& dispatch, const MoeExperts& moe, const Bf16* inner, Bf16* expert_out);

}  // namespace crossover::cuda::moe
