// 256 consecutive values of a row held by a warp, lane l with values 8l .. 8l + 7: one head of 256, two of 128 and so on. Read, written, rotated.
// For .cu files.
#pragma once

#include <cstdint>

#include "kernels/cuda/device.h"
#include "kernels/rotation.h"

namespace crossover::cuda {

inline constexpr int kLaneValues = 8, kWarpValues = kWarp * kLaneValues;

__device__ __forceinline__ int lane_of_thread() { return static_cast<int>(threadIdx.x) % kWarp; }

__device__ __forceinline__ bool at_16_bytes(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer) % 16 == 0; }

// This lane's values of the `count` (at most 256) at `from`; zeros past the end. Two 16-byte accesses where the address allows them.
__device__ __forceinline__ void read_lane(const float* from, std::int64_t count, float (&x)[kLaneValues]) {
  const int first = lane_of_thread() * kLaneValues;
  from += first;
  if (first + kLaneValues <= count && at_16_bytes(from)) {
    const float4 low = *reinterpret_cast<const float4*>(from), high = *reinterpret_cast<const float4*>(from + 4);
    x[0] = low.x, x[1] = low.y, x[2] = low.z, x[3] = low.w, x[4] = high.x, x[5] = high.y, x[6] = high.z, x[7] = high.w;
    return;
  }
#pragma unroll
  for (int j = 0; j < kLaneValues; ++j) x[j] = first + j < count ? from[j] : 0.0f;
}

__device__ __forceinline__ void write_lane(float* to, std::int64_t count, const float (&x)[kLaneValues]) {
  const int first = lane_of_thread() * kLaneValues;
  to += first;
  if (first + kLaneValues <= count && at_16_bytes(to)) {
    *reinterpret_cast<float4*>(to) = make_float4(x[0], x[1], x[2], x[3]);
    *reinterpret_cast<float4*>(to + 4) = make_float4(x[4], x[5], x[6], x[7]);
    return;
  }
#pragma unroll
  for (int j = 0; j < kLaneValues; ++j)
    if (first + j < count) to[j] = x[j];
}

// H_n / sqrt(n) of every n consecutive values, n a power of two from 16 to 256: three stages in registers, the others by shuffles.
__device__ __forceinline__ void hadamard(float (&x)[kLaneValues], int n) {
#pragma unroll
  for (int stride = 1; stride < kLaneValues; stride *= 2)
#pragma unroll
    for (int i = 0; i < kLaneValues; ++i) {
      if (i & stride) continue;
      const float a = x[i], b = x[i + stride];
      x[i] = a + b, x[i + stride] = a - b;
    }
  const int lane = lane_of_thread();
  for (int lanes = 1; lanes * kLaneValues < n; lanes *= 2)
#pragma unroll
    for (int j = 0; j < kLaneValues; ++j) {
      const float other = __shfl_xor_sync(kAllLanes, x[j], lanes);
      x[j] = lane & lanes ? other - x[j] : x[j] + other;
    }
  const float scale = 1.0f / sqrtf(static_cast<float>(n));
#pragma unroll
  for (int j = 0; j < kLaneValues; ++j) x[j] *= scale;
}

// The signs of this lane's values within their block of 128, lowest bit first.
template <int kVector>
__device__ __forceinline__ unsigned signs_of_lane() {
  constexpr std::uint32_t kWords[4] = {kSignBits[kVector][0], kSignBits[kVector][1], kSignBits[kVector][2], kSignBits[kVector][3]};
  const int lane = lane_of_thread(), word = lane / 4 % 4;
  const std::uint32_t bits = word == 0 ? kWords[0] : word == 1 ? kWords[1] : word == 2 ? kWords[2] : kWords[3];
  return bits >> lane % 4 * kLaneValues & 0xffu;
}

__device__ __forceinline__ void negate(float (&x)[kLaneValues], unsigned signs) {
#pragma unroll
  for (int j = 0; j < kLaneValues; ++j) x[j] = __uint_as_float(__float_as_uint(x[j]) ^ (signs >> j & 1u) << 31);
}

// Every head of `head_dim`; all lanes call, those past the end with zeros.
__device__ __forceinline__ void rotate_lane(float (&x)[kLaneValues], Rotation rotation, bool back, int head_dim) {
  if (rotation == Rotation::kNone) return;
  if (rotation == Rotation::kHadamard) return hadamard(x, head_dim);
  const unsigned before = signs_of_lane<0>(), after = signs_of_lane<1>();
  negate(x, back ? after : before);
  hadamard(x, static_cast<int>(kSignedBlock));
  negate(x, back ? before : after);
}

}  // namespace crossover::cuda
