// Bound: about 500 instructions per weight (nineteen fits of a group, made by both of the lanes that hold it), so some 50 Gw/s on an H200;
// bf16 rows come over PCIe 5 at 27 Gw/s, so the copy is what one waits for.
#include "kernels/cuda/quantize.h"

#include <stdexcept>
#include <string>

#include "kernels/cuda/blocks.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/warp_quantize.h"

namespace crossover::cuda {
namespace {

constexpr int kThreads = 256;

template <DType kFrom>
__device__ __forceinline__ void read_stored(const std::byte* block, float (&x)[kLaneValues]) {
  if constexpr (kFrom == DType::kF32) {
    read_lane(reinterpret_cast<const float*>(block), kWarpValues, x);
  } else {
    const std::byte* const mine = block + lane_of_thread() * kLaneValues * 2;
    std::uint16_t bits[kLaneValues];
    if (at_16_bytes(mine)) {
      const uint4 four = *reinterpret_cast<const uint4*>(mine);
      const unsigned words[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
      for (int j = 0; j < kLaneValues; ++j) bits[j] = static_cast<std::uint16_t>(words[j / 2] >> j % 2 * 16);
    } else {
#pragma unroll
      for (int j = 0; j < kLaneValues; ++j) bits[j] = reinterpret_cast<const std::uint16_t*>(mine)[j];
    }
#pragma unroll
    for (int j = 0; j < kLaneValues; ++j) x[j] = kFrom == DType::kF16 ? to_float(Half{bits[j]}) : to_float(Bf16{bits[j]});
  }
}

template <DType kFrom>
__global__ void __launch_bounds__(kThreads) quantize_q6_k_kernel(const std::byte* rows, std::int64_t count, std::byte* blocks) {
  constexpr int kWarps = kThreads / kWarp, kBlockValues = 256;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp; i < count; i += static_cast<std::int64_t>(gridDim.x) * kWarps) {
    float x[kLaneValues];
    read_stored<kFrom>(rows + i * kBlockValues * (kFrom == DType::kF32 ? 4 : 2), x);
    quantize_q6_k(x, {reinterpret_cast<std::uint8_t*>(blocks + i * Blocks<DType::kQ6_K>::kBytes)});
  }
}

}  // namespace

void quantize_q6_k(Context& ctx, DType from, const std::byte* rows, std::int64_t values, std::byte* blocks) {
  if (is_block_format(from)) throw std::invalid_argument(std::string("quantize to q6_k on the device: asked to read ") + name(from) + "; rows of f32, f16 or bf16 are read");
  if (values % info(DType::kQ6_K).block_values != 0)
    throw std::invalid_argument("quantize to q6_k on the device: asked for " + std::to_string(values) + " values; give whole blocks of 256");
  const std::int64_t count = values / info(DType::kQ6_K).block_values;
  if (count == 0) return;
  const std::int64_t most = static_cast<std::int64_t>(ctx.device->facts().multiprocessors) * 16;
  const unsigned grid = blocks_for(count, kThreads / kWarp);
  const Shape shape{dim3(grid < most ? grid : static_cast<unsigned>(most)), dim3(kThreads)};
  dispatch(from, [&]<DType kFrom>() {
    if constexpr (kFrom == DType::kF32 || kFrom == DType::kF16 || kFrom == DType::kBF16) launch(ctx, "quantize_q6_k", quantize_q6_k_kernel<kFrom>, shape, rows, count, blocks);
  });
}

}  // namespace crossover::cuda
