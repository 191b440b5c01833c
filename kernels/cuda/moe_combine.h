// The sum over a token's experts, in ascending expert id and of one expert in ascending choice: one order of additions in every run.
#pragma once

#include <cstdint>

#include "kernels/cuda/device.h"
#include "kernels/ops.h"

namespace crossover::cuda::moe {

struct Choices {
  const std::int32_t* ids;   // [T, k]
  const float* weights;      // [T, k]
  std::int32_t k, experts;
};

// The first k of order [2 k] receive the choices of a token as they are to be added; those whose id is no expert are left out. Returns how many
// there are, to every thread. `order` is shared memory, ready when this returns; all threads of the block call.
__device__ inline int order_choices(const Choices& choices, std::int64_t token, std::int32_t* order) {
  const int thread = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
  std::int32_t* const ids = order + choices.k;
  for (int n = thread; n < choices.k; n += threads) ids[n] = choices.ids[token * choices.k + n];
  __syncthreads();
  const auto is_expert = [&](int id) { return id >= 0 && id < choices.experts; };
  for (int n = thread; n < choices.k; n += threads) {
    if (!is_expert(ids[n])) continue;
    int place = 0;
    for (int m = 0; m < choices.k; ++m) place += is_expert(ids[m]) && (ids[m] < ids[n] || (ids[m] == ids[n] && m < n));
    order[place] = n;
  }
  int valid = 0;
  for (int n = 0; n < choices.k; ++n) valid += is_expert(ids[n]);
  __syncthreads();
  return valid;
}

// out [T, H] = the weighted sum of expert_out [T*k, H], rows by pair, contiguous and 16-byte aligned; those of a choice whose id is no expert
// are not read.
void combine(Context& ctx, const Choices& choices, const Bf16* expert_out, Rows out);
void combine(Context& ctx, const Choices& choices, const float* expert_out, Rows out);

}  // namespace crossover::cuda::moe
