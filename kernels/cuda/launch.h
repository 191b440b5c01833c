// How an operation starts a kernel. For .cu files.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/device.h"
#include "kernels/cuda/runtime.h"
#include "kernels/ops.h"
#ifdef CROSSOVER_CUDA_EMULATED
#include "kernels/cuda/emulator/stream.h"
#endif

namespace crossover::cuda {

struct Shape {
  dim3 grid, block;
  std::size_t shared_bytes = 0;  // dynamic
};

inline unsigned blocks_for(std::int64_t items, std::int64_t per_block) { return static_cast<unsigned>((items + per_block - 1) / per_block); }

#ifdef CROSSOVER_CUDA_EMULATED

template <class... P, class... A>
void launch(Device& device, const char* name, void (*kernel)(P...), const Shape& shape, A... arguments) {
  device.count_launch();
  emulated::in_order(device, [=] { emulated::run_grid(name, {shape.grid, shape.block, shape.shared_bytes}, [=] { kernel(static_cast<P>(arguments)...); }); });
}

#else

void check(cudaError_t status, const char* call);  // std::runtime_error

// name: for messages. A grid of no blocks is not launched: the caller has returned for empty operands.
template <class... P, class... A>
void launch(Device& device, const char* name, void (*kernel)(P...), const Shape& shape, A... arguments) {
  constexpr std::size_t kWithoutAsking = 48 * 1024;
  if (shape.shared_bytes > kWithoutAsking)
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shape.shared_bytes)), name);
  kernel<<<shape.grid, shape.block, shape.shared_bytes, static_cast<cudaStream_t>(device.stream())>>>(static_cast<P>(arguments)...);
  check(cudaGetLastError(), name);
  device.count_launch();
}

#endif

template <class... P, class... A>
void launch(Context& ctx, const char* name, void (*kernel)(P...), const Shape& shape, A... arguments) {
  launch(*ctx.device, name, kernel, shape, arguments...);
}

}  // namespace crossover::cuda
