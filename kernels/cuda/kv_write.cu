// Rows of keys or values into their cache: rotated, in its type, in one pass. Bound by memory: 4 bytes read and a cache's bytes written per value.
// A warp takes 256 values, eight a lane, whatever the type; what it stores in pieces of 2 to 16 bytes meets in L2 before it leaves for DRAM.
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/view.h"
#include "kernels/cuda/warp_quantize.h"

namespace crossover::cuda {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / kWarp;

struct KvWrite {
  View<const float> x;
  std::uint8_t* to;  // the first row
  std::int64_t stride, chunks;  // bytes of a row; warps that share one
  DType type;
  Rotation rotation;
  int head_dim;
};

template <class T, T (*convert)(float)>
__device__ void write_16_bits(const float (&x)[kLaneValues], T* to, std::int64_t count) {
  const int first = lane_of_thread() * kLaneValues;
  to += first;
  if (first + kLaneValues <= count && at_16_bytes(to)) {
    unsigned pairs[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) pairs[i] = convert(x[2 * i]).bits | static_cast<unsigned>(convert(x[2 * i + 1]).bits) << 16;
    *reinterpret_cast<uint4*>(to) = make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
    return;
  }
#pragma unroll
  for (int j = 0; j < kLaneValues; ++j)
    if (first + j < count) to[j] = convert(x[j]);
}

__device__ void write_blocks(const float (&x)[kLaneValues], DType type, const BlockAt& block) {
  switch (type) {
    case DType::kQ8_0: return quantize_q8_0(x, block);
    case DType::kQ4_0: return quantize_small<4, false>(x, block);
    case DType::kQ4_1: return quantize_small<4, true>(x, block);
    case DType::kQ5_0: return quantize_small<5, false>(x, block);
    case DType::kQ5_1: return quantize_small<5, true>(x, block);
    default: return;
  }
}

__device__ std::int64_t bytes_of_block(DType type) {
  switch (type) {
    case DType::kQ8_0: return sizeof(BlockQ8_0);
    case DType::kQ4_0: return sizeof(BlockQ4_0);
    case DType::kQ4_1: return sizeof(BlockQ4_1);
    case DType::kQ5_0: return sizeof(BlockQ5_0);
    default: return sizeof(BlockQ5_1);
  }
}

__global__ void __launch_bounds__(kThreads) kv_write_rows(KvWrite op) {
  wait_for_launches_before();
  const std::int64_t warp = static_cast<std::int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp, row = warp / op.chunks;
  if (row >= op.x.rows) return;
  const std::int64_t first = warp % op.chunks * kWarpValues, count = op.x.dim - first;
  std::uint8_t* const to = op.to + row * op.stride;
  float x[kLaneValues];
  read_lane(op.x.row(row) + first, count, x);
  rotate_lane(x, op.rotation, false, op.head_dim);
  switch (op.type) {
    case DType::kF32: return write_lane(reinterpret_cast<float*>(to) + first, count, x);
    case DType::kF16: return write_16_bits<Half, to_half>(x, reinterpret_cast<Half*>(to) + first, count);
    case DType::kBF16: return write_16_bits<Bf16, to_bf16>(x, reinterpret_cast<Bf16*>(to) + first, count);
    default: return write_blocks(x, op.type, {to + (first / 32 + lane_of_thread() / 4) * bytes_of_block(op.type), lane_of_thread() * kLaneValues < count});
  }
}

// By itself: the search for scales needs thrice the registers.
__global__ void __launch_bounds__(kThreads) kv_write_q6_k(KvWrite op) {
  wait_for_launches_before();
  const std::int64_t warp = static_cast<std::int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp, row = warp / op.chunks, chunk = warp % op.chunks;
  if (row >= op.x.rows) return;
  float x[kLaneValues];
  read_lane(op.x.row(row) + chunk * kWarpValues, kWarpValues, x);
  rotate_lane(x, op.rotation, false, op.head_dim);
  quantize_q6_k(x, {op.to + row * op.stride + chunk * static_cast<std::int64_t>(sizeof(BlockQ6_K))});
}

}  // namespace

void kv_write(Context& ctx, ConstRows x, const KvCache& cache, std::int64_t first_row) {
  const std::int64_t chunks = (x.dim + kWarpValues - 1) / kWarpValues;
  const KvWrite op{view(x), reinterpret_cast<std::uint8_t*>(cache.rows.row(first_row)), cache.rows.row_stride(), chunks, cache.rows.dtype, cache.rotation,
                   static_cast<int>(cache.head_dim)};
  const Shape shape{dim3(blocks_for(x.rows * chunks, kWarps)), dim3(kThreads)};
  launch(ctx, "kv_write", op.type == DType::kQ6_K ? kv_write_q6_k : kv_write_rows, shape, op);
}

}  // namespace crossover::cuda
