// How an operation starts a kernel, or leaves it where launches wait (launch_graphs.h). For .cu files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "kernels/cuda/device.h"
#include "kernels/cuda/launch_graphs.h"
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

inline Launch launch_of(const char* name, const void* kernel, const Shape& shape) {
  return {name, kernel, {shape.grid.x, shape.grid.y, shape.grid.z}, {shape.block.x, shape.block.y, shape.block.z}, shape.shared_bytes};
}

#ifdef CROSSOVER_CUDA_EMULATED

template <class... P>
void call_kernel(const void* kernel, void* const* arguments) {
  [&]<std::size_t... I>(std::index_sequence<I...>) {
    reinterpret_cast<void (*)(P...)>(const_cast<void*>(kernel))(*static_cast<P*>(arguments[I])...);
  }(std::index_sequence_for<P...>());
}

template <class... P, class... A>
void launch(Device& device, const char* name, void (*kernel)(P...), const Shape& shape, A... arguments) {
  device.allow_shared(reinterpret_cast<const void*>(kernel), shape.shared_bytes, name);
  device.count_launch();
  if (LaunchGraphs* const queue = device.queue()) {
    Launch later = launch_of(name, reinterpret_cast<const void*>(kernel), shape);
    later.call = call_kernel<P...>;
    return queue->add(later, static_cast<P>(arguments)...);
  }
  emulated::check_shared(name, reinterpret_cast<const void*>(kernel), shape.shared_bytes);
  emulated::in_order(device, [=] { emulated::run_grid(name, {shape.grid, shape.block, shape.shared_bytes, true}, [=] { kernel(static_cast<P>(arguments)...); }); });
}

#else

// name: for messages. A grid of no blocks is not launched: the caller has returned for empty operands.
template <class... P, class... A>
void launch(Device& device, const char* name, void (*kernel)(P...), const Shape& shape, A... arguments) {
  device.allow_shared(reinterpret_cast<const void*>(kernel), shape.shared_bytes, name);
  device.count_launch();
  const Launch one = launch_of(name, reinterpret_cast<const void*>(kernel), shape);
  if (LaunchGraphs* const queue = device.queue()) return queue->add(one, static_cast<P>(arguments)...);
  [&](P... given) {
    void* pointers[] = {&given...};
    start_alone(device, one, pointers);
  }(static_cast<P>(arguments)...);
}

#endif

template <class... P, class... A>
void launch(Context& ctx, const char* name, void (*kernel)(P...), const Shape& shape, A... arguments) {
  launch(*ctx.device, name, kernel, shape, arguments...);
}

}  // namespace crossover::cuda
