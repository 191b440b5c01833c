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

__device__ __forceinline__ bool is_finite(float x) { return (__float_as_uint(x) & 0x7f800000u) != 0x7f800000u; }

// left: values from the block's first one to the end of all.
__device__ __forceinline__ void tell_not_finite(const float (&x)[kLaneValues], std::int64_t left, unsigned long long* from_end) {
  int first = kLaneValues;
#pragma unroll
  for (int j = kLaneValues - 1; j >= 0; --j)
    if (!is_finite(x[j])) first = j;
  const unsigned lanes = __ballot_sync(kAllLanes, first < kLaneValues);
  if (lanes == 0 || lane_of_thread() != __ffs(static_cast<int>(lanes)) - 1) return;
  atomicMax(from_end, static_cast<unsigned long long>(left - lane_of_thread() * kLaneValues - first));  // of whole numbers: any order gives the same
}

template <DType kFrom>
__global__ void __launch_bounds__(kThreads) quantize_q6_k_kernel(const std::byte* rows, std::int64_t count, std::byte* blocks, unsigned long long* from_end) {
  wait_for_launches_before();
  constexpr int kWarps = kThreads / kWarp, kBlockValues = 256;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp; i < count; i += static_cast<std::int64_t>(gridDim.x) * kWarps) {
    float x[kLaneValues];
    read_stored<kFrom>(rows + i * kBlockValues * (kFrom == DType::kF32 ? 4 : 2), x);
    if (from_end) tell_not_finite(x, (count - i) * kBlockValues, from_end);
    quantize_q6_k(x, {reinterpret_cast<std::uint8_t*>(blocks + i * Blocks<DType::kQ6_K>::kBytes)});
  }
}

}  // namespace

void quantize_q6_k(Device& device, DType from, const std::byte* rows, std::int64_t values, std::byte* blocks, std::uint64_t* from_end) {
  static_assert(sizeof(unsigned long long) == sizeof(std::uint64_t));  // the one that CUDA has atomics of
  if (is_block_format(from)) throw std::invalid_argument(std::string("quantize to q6_k on the device: asked to read ") + name(from) + "; rows of f32, f16 or bf16 are read");
  if (values % info(DType::kQ6_K).block_values != 0)
    throw std::invalid_argument("quantize to q6_k on the device: asked for " + std::to_string(values) + " values; give whole blocks of 256");
  const std::int64_t count = values / info(DType::kQ6_K).block_values;
  if (count == 0) return;
  const std::int64_t most = static_cast<std::int64_t>(device.facts().multiprocessors) * 16;
  const unsigned grid = blocks_for(count, kThreads / kWarp);
  const Shape shape{dim3(grid < most ? grid : static_cast<unsigned>(most)), dim3(kThreads)};
  dispatch(from, [&]<DType kFrom>() {
    if constexpr (kFrom == DType::kF32 || kFrom == DType::kF16 || kFrom == DType::kBF16) 
      launch(device, "quantize_q6_k", quantize_q6_k_kernel<kFrom>, shape, rows, count, blocks, reinterpret_cast<unsigned long long*>(from_end));
  });
}

}  // namespace crossover::cuda
